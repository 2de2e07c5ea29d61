//! Distances between the outlines of two masks.

#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::strips::Strips;

/// Distances between outlines, in the unit of the spacing.
///
/// The outline of a mask is each foreground pixel with a 4-neighbour that is background or outside the image.
/// Both masks empty: 0. Only one empty: the diagonal of the image, the largest distance there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SurfaceDistances {
    /// The larger of the two directed 95th percentiles (linear interpolation).
    pub hausdorff95: f64,
    /// Mean over the outline pixels of both masks of the distance to the other outline.
    pub average: f64,
}

/// Memory for distance fields; keep it to measure many masks without allocating.
#[derive(Clone, Debug, Default)]
pub struct Field {
    squared: Vec<f64>,
    vertex: Vec<usize>,
    bound: Vec<f64>,
    row: Vec<f64>,
    distances: [Vec<f64>; 2],
}

impl SurfaceDistances {
    /// Measures two masks of the same shape; spacing is the pixel's (height, width).
    pub fn of(
        prediction: &Strips,
        reference: &Strips,
        spacing: [f64; 2],
        field: &mut Field,
    ) -> Self {
        let (height, width) = prediction.shape();
        let outlines = [outline(prediction), outline(reference)];
        match (outlines[0].is_empty(), outlines[1].is_empty()) {
            (true, true) => return Self::default(),
            (false, false) => {}
            _ => {
                let diagonal = (height as f64 * spacing[0]).hypot(width as f64 * spacing[1]);
                return Self {
                    hausdorff95: diagonal,
                    average: diagonal,
                };
            }
        }
        let mut sum = 0.0;
        let mut worst: f64 = 0.0;
        for (from, to) in [(0, 1), (1, 0)] {
            field.fill(&outlines[to], (height, width), spacing);
            let mut distances = std::mem::take(&mut field.distances[from]);
            distances.clear();
            distances.extend(
                outlines[from]
                    .iter()
                    .map(|&(row, column)| field.squared[row * width + column].sqrt()),
            );
            sum += distances.iter().sum::<f64>();
            worst = worst.max(percentile(&mut distances, 0.95));
            field.distances[from] = distances;
        }
        Self {
            hausdorff95: worst,
            average: sum / (outlines[0].len() + outlines[1].len()) as f64,
        }
    }
}

/// Rows and columns of the outline's pixels, row by row.
fn outline(strips: &Strips) -> Vec<(usize, usize)> {
    let (height, _) = strips.shape();
    let (words, stride) = (strips.words(), strips.stride());
    let mut pixels = Vec::new();
    for row in 0..height {
        for strip in 0..strips.columns() {
            let address = strips.start(strip) + row;
            let here = words[address];
            let west = here << 1 | words[address - stride] >> 63;
            let east = here >> 1 | words[address + stride] << 63;
            let mut edge = here & !(west & east & words[address - 1] & words[address + 1]);
            while edge != 0 {
                pixels.push((row, strip * 64 + edge.trailing_zeros() as usize));
                edge &= edge - 1;
            }
        }
    }
    pixels
}

/// Value below which a share of the values lies, with linear interpolation; sorts the values.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let position = share * (values.len() - 1) as f64;
    #[allow(clippy::cast_sign_loss)] // a place in a list
    let below = position.floor() as usize;
    let above = (below + 1).min(values.len() - 1);
    values[below] + (values[above] - values[below]) * (position - below as f64)
}

impl Field {
    /// Squared distance of every pixel to the nearest of some pixels (at least one).
    ///
    /// Source: Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019.
    fn fill(
        &mut self,
        pixels: &[(usize, usize)],
        (height, width): (usize, usize),
        spacing: [f64; 2],
    ) {
        self.squared.clear();
        self.squared.resize(height * width, f64::INFINITY);
        for &(row, column) in pixels {
            self.squared[row * width + column] = 0.0;
        }
        // Down and up each column: rows to the nearest pixel, counted in rows, kept row by row for speed.
        for row in 1..height {
            let (done, rest) = self.squared.split_at_mut(row * width);
            for (value, &above) in rest[..width].iter_mut().zip(&done[(row - 1) * width..]) {
                *value = value.min(above + 1.0);
            }
        }
        for row in (0..height.saturating_sub(1)).rev() {
            let (rest, done) = self.squared.split_at_mut((row + 1) * width);
            for (value, &below) in rest[row * width..].iter_mut().zip(&done[..width]) {
                *value = value.min(below + 1.0);
            }
        }
        for value in &mut self.squared {
            *value = (*value * spacing[0]).powi(2);
        }
        self.vertex.resize(width, 0);
        self.bound.resize(width + 1, 0.0);
        for row in 0..height {
            self.lower_envelope(row * width, width, spacing[1]);
        }
    }

    /// Replaces one row by the lower envelope of the parabolas that stand on its values.
    fn lower_envelope(&mut self, start: usize, width: usize, spacing: f64) {
        let Self {
            squared,
            vertex,
            bound,
            row,
            ..
        } = self;
        row.clear();
        row.extend_from_slice(&squared[start..start + width]);
        let mut parabolas = 0;
        for column in 0..width {
            if row[column].is_infinite() {
                continue;
            }
            let x = column as f64 * spacing;
            let height_here = row[column] + x * x;
            let mut from = f64::NEG_INFINITY;
            while parabolas > 0 {
                let other = vertex[parabolas - 1];
                let at = other as f64 * spacing;
                from = (height_here - (row[other] + at * at)) / (2.0 * (x - at));
                if from > bound[parabolas - 1] {
                    break;
                }
                parabolas -= 1;
                from = f64::NEG_INFINITY;
            }
            vertex[parabolas] = column;
            bound[parabolas] = from;
            parabolas += 1;
        }
        let mut current = 0;
        for (column, value) in squared[start..start + width].iter_mut().enumerate() {
            let x = column as f64 * spacing;
            while current + 1 < parabolas && bound[current + 1] < x {
                current += 1;
            }
            let away = x - vertex[current] as f64 * spacing;
            *value = row[vertex[current]] + away * away;
        }
    }
}
