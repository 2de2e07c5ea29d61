//! Distances between the outlines of two masks.
//!
//! Both outlines are bits. Most pixels of one lie within a few pixels of the other, so each tile of 64×8 pixels is
//! compared with the other outline shifted by every offset, the nearest first, until none of its pixels is left: that
//! counts pixels by exact distance, 64 at once, and touches nothing but tiles with an outline. What is farther away
//! searches rows outwards, and where that would cost more, an exact distance transform of the rectangle around both.

#![allow(clippy::inline_always)] // compiled again for each instruction set, which only inlining can do
#![allow(clippy::precedence)] // shifts before masks: parentheses around each hide the pattern

use crate::simd;
use crate::strips::{Strips, MARGIN};

/// Distances between outlines, in the unit of the spacing.
///
/// The outline of a mask is each foreground pixel with a 4-neighbour that is background or outside the image.
/// Both masks empty: 0. Only one empty: the diagonal of the image, the largest distance there can be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SurfaceDistances {
    /// The larger of the two directed 95th percentiles (linear interpolation).
    pub hausdorff95: f64,
    /// The 95th percentile of the distances of both directions together.
    pub pooled95: f64,
    /// The directed 95th percentiles: of the prediction's outline from the reference's, and the other way round.
    pub directed95: [f64; 2],
    /// Mean over the outline pixels of both masks of the distance to the other outline.
    pub average: f64,
}

/// Memory for measuring many masks without allocating.
#[derive(Clone, Debug, Default)]
pub struct Field {
    outlines: [Strips; 2],
    rings: Rings,
    /// Pixels at each distance of `rings`, and the distances of pixels farther away, of both directions.
    counts: [Vec<u64>; 2],
    far: [Vec<f64>; 2],
    left: Vec<Pixel>,
    transform: Transform,
}

/// A pixel of an outline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pixel {
    pub row: u32,
    pub column: u32,
}

impl SurfaceDistances {
    /// Measures two masks of the same shape; spacing is the pixel's (height, width).
    pub fn of(
        prediction: &Strips,
        reference: &Strips,
        spacing: [f64; 2],
        field: &mut Field,
    ) -> Self {
        field.rings.take(spacing);
        let sizes = [
            simd::outline(prediction, &mut field.outlines[0]),
            simd::outline(reference, &mut field.outlines[1]),
        ];
        match (sizes[0], sizes[1]) {
            (0, 0) => return Self::default(),
            (0, _) | (_, 0) => {
                let (rows, columns) = prediction.shape();
                let (height, width) = (rows as f64 * spacing[0], columns as f64 * spacing[1]);
                // A root is exact to the last bit everywhere, what the system's `hypot` gives is not.
                return Self::all((height * height + width * width).sqrt());
            }
            _ => {}
        }
        for direction in 0..2 {
            field.measure(direction, spacing);
        }
        field.sums(sizes)
    }

    fn all(distance: f64) -> Self {
        Self {
            hausdorff95: distance,
            pooled95: distance,
            directed95: [distance; 2],
            average: distance,
        }
    }
}

impl Field {
    /// Distances of one outline's pixels from the other.
    fn measure(&mut self, direction: usize, spacing: [f64; 2]) {
        let Self {
            outlines,
            rings,
            counts,
            far,
            left,
            transform,
        } = self;
        let (from, to) = (&outlines[direction], &outlines[1 - direction]);
        let counts = &mut counts[direction];
        counts.clear();
        counts.resize(rings.distances.len(), 0);
        left.clear();
        simd::rings(from, to, rings, counts, left);
        let far = &mut far[direction];
        far.clear();
        if left.is_empty() {
            return;
        }
        search_or_transform(left, to, spacing, transform, far);
        far.sort_unstable_by(f64::total_cmp);
    }

    fn sums(&self, sizes: [u64; 2]) -> SurfaceDistances {
        let rings = &self.rings.distances;
        let mut sum = 0.0;
        for direction in 0..2 {
            let near = self.counts[direction].iter().zip(rings);
            sum += near
                .map(|(&count, &distance)| count as f64 * distance)
                .sum::<f64>();
            sum += self.far[direction].iter().sum::<f64>();
        }
        let directed95 = [0, 1].map(|direction| {
            let (counts, far) = (&self.counts[direction], &self.far[direction]);
            percentile(rings, counts, far, sizes[direction])
        });
        let counts: Vec<u64> = self.counts[0]
            .iter()
            .zip(&self.counts[1])
            .map(|(a, b)| a + b)
            .collect();
        let mut far = self.far.concat();
        far.sort_unstable_by(f64::total_cmp);
        SurfaceDistances {
            hausdorff95: directed95[0].max(directed95[1]),
            pooled95: percentile(rings, &counts, &far, sizes[0] + sizes[1]),
            directed95,
            average: sum / (sizes[0] + sizes[1]) as f64,
        }
    }
}

/// The 95th percentile with linear interpolation, of `counts` at the rings and sorted distances beyond them.
fn percentile(rings: &[f64], counts: &[u64], far: &[f64], size: u64) -> f64 {
    let position = 0.95 * (size - 1) as f64;
    #[allow(clippy::cast_sign_loss)] // a place in a list
    let below = position.floor() as u64;
    let value = |place: u64| {
        let mut passed = 0;
        for (&distance, &count) in rings.iter().zip(counts) {
            passed += count;
            if place < passed {
                return distance;
            }
        }
        far[(place - passed) as usize]
    };
    let (low, high) = (value(below), value((below + 1).min(size - 1)));
    low + (high - low) * (position - below as f64)
}

/// Offsets by distance, the nearest first, complete up to the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rings {
    spacing: [f64; 2],
    distances: Vec<f64>,
    /// Where the offsets of each distance end.
    ends: Vec<usize>,
    /// (rows down, columns to the right), of one quadrant.
    offsets: Vec<(u8, u8)>,
}

/// Rows that can be looked up or down from a tile without leaving the zeros around the image.
const REACH: usize = MARGIN;

impl Rings {
    /// Takes a spacing; keeps what is there where it is the same.
    #[allow(clippy::float_cmp)] // the same spacing, not nearly the same
    fn take(&mut self, spacing: [f64; 2]) {
        if self.spacing == spacing && !self.distances.is_empty() {
            return;
        }
        self.spacing = spacing;
        // Beyond this an offset outside the square could be nearer than one inside.
        let most = (REACH + 1) as f64 * spacing[0].min(spacing[1]);
        let mut all: Vec<(f64, (u8, u8))> = (0..=REACH as u8)
            .flat_map(|down| (0..=REACH as u8).map(move |right| (down, right)))
            .map(|(down, right)| {
                let (y, x) = (f64::from(down) * spacing[0], f64::from(right) * spacing[1]);
                (y * y + x * x, (down, right))
            })
            .filter(|&(square, _)| square < most * most)
            .collect();
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.distances.clear();
        self.ends.clear();
        self.offsets.clear();
        let mut last = f64::NAN;
        for (square, offset) in all {
            #[allow(clippy::float_cmp)] // equal distances, not nearly equal ones
            if square != last {
                self.distances.push(square.sqrt());
                self.ends.push(self.offsets.len());
                last = square;
            }
            self.offsets.push(offset);
            *self.ends.last_mut().expect("just pushed") = self.offsets.len();
        }
    }
}

/// Writes the outline of a mask; returns its pixels. Compiled once for each instruction set.
#[inline(always)]
pub(crate) fn outline_body(mask: &Strips, outline: &mut Strips) -> u64 {
    let (height, width) = mask.shape();
    outline.reset(height, width);
    let rows = mask.rows();
    outline.rewrite_rows(rows.clone());
    let stride = mask.stride();
    let (words, out) = (mask.words(), outline.words_within_rows());
    let height = rows.len();
    let mut size = 0;
    for strip in 0..mask.columns() {
        let start = mask.start(strip) + rows.start;
        let here = &words[start - 1..][..height + 2];
        let (west, east) = (
            &words[start - stride..][..height],
            &words[start + stride..][..height],
        );
        let out = &mut out[start..][..height];
        for row in 0..height {
            let (up, middle, down) = (here[row], here[row + 1], here[row + 2]);
            let inside =
                (middle << 1 | west[row] >> 63) & (middle >> 1 | east[row] << 63) & up & down;
            out[row] = middle & !inside;
        }
        size += out
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum::<u64>();
    }
    size
}

/// Counts the pixels of `from` by their distance to `to`, as far as the rings go; lists the others.
/// Compiled once for each instruction set.
#[inline(always)]
pub(crate) fn rings_body(
    from: &Strips,
    to: &Strips,
    rings: &Rings,
    counts: &mut [u64],
    left: &mut Vec<Pixel>,
) {
    let rows = from.rows();
    let tiles = rows.start / MARGIN * MARGIN..rows.end;
    let stride = from.stride();
    let (words, others) = (from.words(), to.words());
    for strip in 0..from.columns() {
        let start = from.start(strip);
        for first in tiles.clone().step_by(MARGIN) {
            let address = start + first;
            let mut open: [u64; MARGIN] = *words[address..]
                .first_chunk()
                .expect("a tile or the margin below");
            if is_empty(&open) {
                continue;
            }
            resolve(&mut open, others, address, stride, rings, counts);
            for (row, word) in open.iter_mut().enumerate() {
                while *word != 0 {
                    left.push(Pixel {
                        row: (first + row) as u32,
                        column: (strip * 64) as u32 + word.trailing_zeros(),
                    });
                    *word &= *word - 1;
                }
            }
        }
    }
}

#[inline(always)]
fn is_empty(tile: &[u64; MARGIN]) -> bool {
    tile.iter().fold(0, |all, &word| all | word) == 0
}

/// Takes from a tile what is found ring by ring.
#[inline(always)]
fn resolve(
    open: &mut [u64; MARGIN],
    others: &[u64],
    address: usize,
    stride: usize,
    rings: &Rings,
    counts: &mut [u64],
) {
    let mut begin = 0;
    for (&end, count) in rings.ends.iter().zip(counts) {
        let mut found = [0u64; MARGIN];
        for &(down, right) in &rings.offsets[begin..end] {
            let shift = u32::from(right);
            gather(
                &mut found,
                others,
                address + usize::from(down),
                stride,
                shift,
            );
            if down > 0 {
                gather(
                    &mut found,
                    others,
                    address - usize::from(down),
                    stride,
                    shift,
                );
            }
        }
        begin = end;
        let mut hits = 0;
        for (word, found) in open.iter_mut().zip(found) {
            hits += (*word & found).count_ones();
            *word &= !found;
        }
        *count += u64::from(hits);
        if is_empty(open) {
            return;
        }
    }
}

/// Adds the tile at an address, moved to both sides by `shift` pixels.
#[inline(always)]
fn gather(found: &mut [u64; MARGIN], others: &[u64], address: usize, stride: usize, shift: u32) {
    let tile = |start: usize| -> &[u64; MARGIN] {
        others[start..].first_chunk().expect("zeros lie around")
    };
    let here = tile(address);
    if shift == 0 {
        for row in 0..MARGIN {
            found[row] |= here[row];
        }
        return;
    }
    let (west, east) = (tile(address - stride), tile(address + stride));
    for row in 0..MARGIN {
        let from_west = here[row] << shift | west[row] >> (64 - shift);
        let from_east = here[row] >> shift | east[row] << (64 - shift);
        found[row] |= from_west | from_east;
    }
}

/// Distances of single pixels: by searching rows outwards while that is cheap, else by a transform.
fn search_or_transform(
    left: &[Pixel],
    to: &Strips,
    spacing: [f64; 2],
    transform: &mut Transform,
    far: &mut Vec<f64>,
) {
    let bounds = Bounds::of(left, to);
    // A row looked at costs about as much as the transform's work on a few pixels.
    let mut budget = bounds.area() / ROW_COST + left.len();
    for (index, &pixel) in left.iter().enumerate() {
        let (square, rows) = nearest(pixel, to, &bounds, spacing);
        far.push(square.sqrt());
        let Some(rest) = budget.checked_sub(rows) else {
            transform.distances(&left[index + 1..], to, &bounds, spacing, far);
            return;
        };
        budget = rest;
    }
}

/// Pixels of a transform that cost as much as one row of a search.
const ROW_COST: usize = 2;

/// Squared distance of a pixel to the nearest of `to`, and how many rows were looked at.
fn nearest(pixel: Pixel, to: &Strips, bounds: &Bounds, spacing: [f64; 2]) -> (f64, usize) {
    let (row, column) = (pixel.row as usize, pixel.column as usize);
    let mut best = f64::INFINITY;
    let mut rows = 0;
    for away in 0.. {
        let down = away as f64 * spacing[0];
        if down * down >= best {
            break;
        }
        let above = row.checked_sub(away).filter(|&row| row >= bounds.top);
        let below = Some(row + away).filter(|&row| row < bounds.bottom && away > 0);
        if above.is_none() && row + away >= bounds.bottom {
            break;
        }
        for other in [above, below].into_iter().flatten() {
            rows += 1;
            if other >= bounds.bottom {
                continue;
            }
            if let Some(right) = nearest_in_row(to, other, column, bounds, (best, down, spacing[1]))
            {
                let right = right as f64 * spacing[1];
                best = best.min(down * down + right * right);
            }
        }
    }
    (best, rows)
}

/// Columns to the nearest pixel of a row, where one may be nearer than what was found.
fn nearest_in_row(
    to: &Strips,
    row: usize,
    column: usize,
    bounds: &Bounds,
    (best, down, width): (f64, f64, f64),
) -> Option<usize> {
    let (words, stride) = (to.words(), to.stride());
    let address = |strip: usize| to.start(0) + strip * stride + row;
    let (strip, bit) = (column / 64, column % 64);
    let is_worth = |columns: usize| {
        let right = columns as f64 * width;
        down * down + right * right < best
    };
    let mut nearest: Option<usize> = None;
    // To the west: this word up to the bit, then whole words.
    let mut word = words[address(strip)] & (u64::MAX >> (63 - bit));
    let mut from = strip;
    loop {
        if word != 0 {
            let found = from * 64 + 63 - word.leading_zeros() as usize;
            nearest = Some(column - found);
            break;
        }
        if from <= bounds.left || !is_worth(column + 1 - from * 64) {
            break;
        }
        from -= 1;
        word = words[address(from)];
    }
    // To the east.
    let mut word = words[address(strip)] & (u64::MAX << bit);
    let mut from = strip;
    loop {
        if word != 0 {
            let found = from * 64 + word.trailing_zeros() as usize;
            nearest = Some(nearest.map_or(found - column, |west| west.min(found - column)));
            break;
        }
        let columns = (from + 1) * 64 - column;
        if from + 1 >= bounds.right
            || !is_worth(columns)
            || nearest.is_some_and(|west| west <= columns)
        {
            break;
        }
        from += 1;
        word = words[address(from)];
    }
    nearest
}

/// The rectangle of the pixels that are searched for and of those that are left: rows, and strips of 64 columns.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

impl Bounds {
    /// Around `to` alone in rows and strips; a pixel outside of it starts at its edge.
    fn of(left: &[Pixel], to: &Strips) -> Self {
        let inside = to.rows();
        let mut rows = vec![0u64; inside.len()];
        let (mut first, mut last) = (usize::MAX, 0);
        for strip in 0..to.columns() {
            let words = &to.words()[to.start(strip)..][inside.clone()];
            let mut any = 0;
            for (row, &word) in rows.iter_mut().zip(words) {
                *row |= word;
                any |= word;
            }
            if any != 0 {
                first = first.min(strip);
                last = strip;
            }
        }
        let top = rows.iter().position(|&row| row != 0).unwrap_or(0) + inside.start;
        let bottom = rows
            .iter()
            .rposition(|&row| row != 0)
            .map_or(0, |row| row + 1 + inside.start);
        let columns = left.iter().map(|pixel| pixel.column as usize / 64);
        let (west, east) = columns.fold((first, last), |(west, east), strip| {
            (west.min(strip), east.max(strip))
        });
        Self {
            top,
            bottom,
            left: west,
            right: east + 1,
        }
    }

    fn area(&self) -> usize {
        (self.bottom - self.top) * (self.right - self.left) * 64
    }
}

/// An exact distance transform, row by row where a pixel asks for it.
#[derive(Clone, Debug, Default)]
struct Transform {
    /// Squared vertical distance to the nearest pixel in the same column, row by row.
    squared: Vec<f64>,
    envelope: Vec<Parabola>,
}

/// A parabola of the lower envelope: where it stands, and from where on it is the lowest.
#[derive(Clone, Copy, Debug)]
struct Parabola {
    column: f64,
    height: f64,
    from: f64,
}

impl Transform {
    /// Appends the distance of each pixel to the nearest of `to`, in the order given (row by row within a strip).
    ///
    /// Source: Felzenszwalb and Huttenlocher 2012, doi:10.4086/toc.2012.v008a019.
    fn distances(
        &mut self,
        pixels: &[Pixel],
        to: &Strips,
        bounds: &Bounds,
        spacing: [f64; 2],
        far: &mut Vec<f64>,
    ) {
        let mut order: Vec<Pixel> = pixels.to_vec();
        order.sort_unstable_by_key(|pixel| (pixel.row, pixel.column));
        let Some(end) = order.last().map(|pixel| pixel.row as usize + 1) else {
            return;
        };
        let top = bounds.top.min(order[0].row as usize);
        let bottom = bounds.bottom.max(end);
        let width = (bounds.right - bounds.left) * 64;
        self.vertical(to, (top, bottom), bounds.left, width);
        let mut done = 0;
        while done < order.len() {
            let row = order[done].row as usize;
            let same = order[done..].partition_point(|pixel| pixel.row as usize == row);
            self.lower_envelope((row - top) * width, width, spacing);
            let mut place = 0;
            for pixel in &order[done..done + same] {
                let x = (pixel.column as usize - bounds.left * 64) as f64;
                while place + 1 < self.envelope.len() && self.envelope[place + 1].from < x {
                    place += 1;
                }
                let Parabola { column, height, .. } = self.envelope[place];
                let away = (x - column) * spacing[1];
                far.push((height + away * away).sqrt());
            }
            done += same;
        }
    }

    /// Rows to the nearest pixel of each column, down and up.
    fn vertical(&mut self, to: &Strips, (top, bottom): (usize, usize), left: usize, width: usize) {
        let rows = bottom - top;
        self.squared.clear();
        self.squared.resize(rows * width, f64::INFINITY);
        for (row, values) in self.squared.chunks_exact_mut(width).enumerate() {
            for (strip, values) in values.chunks_exact_mut(64).enumerate() {
                let mut word = to.word(left + strip, top + row);
                while word != 0 {
                    values[word.trailing_zeros() as usize] = 0.0;
                    word &= word - 1;
                }
            }
        }
        for row in 1..rows {
            let (done, rest) = self.squared.split_at_mut(row * width);
            for (value, &above) in rest[..width].iter_mut().zip(&done[(row - 1) * width..]) {
                *value = value.min(above + 1.0);
            }
        }
        for row in (0..rows.saturating_sub(1)).rev() {
            let (rest, done) = self.squared.split_at_mut((row + 1) * width);
            for (value, &below) in rest[row * width..].iter_mut().zip(&done[..width]) {
                *value = value.min(below + 1.0);
            }
        }
    }

    /// The lowest of the parabolas that stand on a row's values.
    fn lower_envelope(&mut self, start: usize, width: usize, spacing: [f64; 2]) {
        self.envelope.clear();
        let square = spacing[1] * spacing[1];
        for (column, &rows) in self.squared[start..start + width].iter().enumerate() {
            if rows.is_infinite() {
                continue;
            }
            let x = column as f64;
            let down = rows * spacing[0];
            let height = down * down;
            let mut from = f64::NEG_INFINITY;
            while let Some(other) = self.envelope.last() {
                let apart = x - other.column;
                from = (height - other.height) / (2.0 * apart * square)
                    + f64::midpoint(x, other.column);
                if from > other.from {
                    break;
                }
                self.envelope.pop();
                from = f64::NEG_INFINITY;
            }
            self.envelope.push(Parabola {
                column: x,
                height,
                from,
            });
        }
    }
}
