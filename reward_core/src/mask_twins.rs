//! What the mask code does, written to be obviously right and not quick: for tests and fuzz targets.

#![allow(clippy::missing_panics_doc)] // twins panic where the code under test would be wrong

use crate::surface::SurfaceDistances;
use crate::thinning_rule::REMOVED;
use crate::topology::Topology;
use ndarray::Array2;

/// Whether the pixel a step away is foreground; outside the image there is none.
#[must_use]
pub fn at(mask: &Array2<u8>, row: usize, column: usize, (down, right): (isize, isize)) -> bool {
    let place = (
        row.wrapping_add_signed(down),
        column.wrapping_add_signed(right),
    );
    mask.get(place).is_some_and(|&value| value > 0)
}

/// Steps to the eight neighbours, from the north-west clockwise.
pub const AROUND: [(isize, isize); 8] = [
    (-1, -1),
    (-1, 0),
    (-1, 1),
    (0, 1),
    (1, 1),
    (1, 0),
    (1, -1),
    (0, -1),
];

/// The skeleton: both passes by the table until neither removes a pixel.
#[must_use]
pub fn thinned_naively(mask: &Array2<u8>) -> Array2<u8> {
    let mut now = mask.mapv(|value| u8::from(value > 0));
    loop {
        let before = now.clone();
        for removed in REMOVED {
            let image = now.clone();
            for ((row, column), value) in now.indexed_iter_mut() {
                let index = (0..8)
                    .map(|bit| u8::from(at(&image, row, column, AROUND[bit])) << bit)
                    .sum();
                if removed.contains(&index) {
                    *value = 0;
                }
            }
        }
        if now == before {
            return now;
        }
    }
}

/// Sizes of the connected parts of the pixels that are `value`, over the given steps.
#[must_use]
pub fn parts(mask: &Array2<u8>, value: bool, steps: &[(isize, isize)]) -> Vec<usize> {
    let mut open = mask.mapv(|pixel| (pixel > 0) == value);
    let mut sizes = Vec::new();
    let mut front = Vec::new();
    for (start, _) in mask.indexed_iter() {
        front.push(start);
        let mut size = 0;
        while let Some(place) = front.pop() {
            if !std::mem::take(&mut open[place]) {
                continue;
            }
            size += 1;
            for &(down, right) in steps {
                let next = (
                    place.0.wrapping_add_signed(down),
                    place.1.wrapping_add_signed(right),
                );
                if mask.get(next).is_some() {
                    front.push(next);
                }
            }
        }
        if size > 0 {
            sizes.push(size);
        }
    }
    sizes
}

/// Components and holes by flood fill, and the share of the foreground in the largest component.
#[must_use]
pub fn topology_naively(mask: &Array2<u8>) -> (Topology, f64) {
    let components = parts(mask, true, &AROUND);
    let padded = Array2::from_shape_fn((mask.nrows() + 2, mask.ncols() + 2), |(row, column)| {
        u8::from(row > 0 && column > 0 && at(mask, row - 1, column - 1, (0, 0)))
    });
    let straight = [AROUND[1], AROUND[3], AROUND[5], AROUND[7]];
    let topology = Topology {
        components: components.len() as u64,
        holes: parts(&padded, false, &straight).len() as u64 - 1,
    };
    let largest = components.iter().max().map_or(1.0, |&size| {
        size as f64 / components.iter().sum::<usize>() as f64
    });
    (topology, largest)
}

/// Distances between the outlines, each pixel of one compared with each of the other.
#[must_use]
pub fn distances_naively(a: &Array2<u8>, b: &Array2<u8>, spacing: [f64; 2]) -> SurfaceDistances {
    let outline = |mask: &Array2<u8>| -> Vec<(usize, usize)> {
        let is_edge = |row, column| {
            let beside = [AROUND[1], AROUND[3], AROUND[5], AROUND[7]];
            at(mask, row, column, (0, 0)) && !beside.iter().all(|&step| at(mask, row, column, step))
        };
        mask.indexed_iter()
            .map(|(place, _)| place)
            .filter(|&(row, column)| is_edge(row, column))
            .collect()
    };
    let (a_edge, b_edge) = (outline(a), outline(b));
    let (height, width) = a.dim();
    if a_edge.is_empty() || b_edge.is_empty() {
        let diagonal = (height as f64 * spacing[0]).hypot(width as f64 * spacing[1]);
        let all = if a_edge.len() + b_edge.len() > 0 {
            diagonal
        } else {
            0.0
        };
        return SurfaceDistances {
            hausdorff95: all,
            pooled95: all,
            directed95: [all; 2],
            average: all,
        };
    }
    let nearest = |from: &[(usize, usize)], to: &[(usize, usize)]| -> Vec<f64> {
        let mut distances: Vec<f64> = from
            .iter()
            .map(|p| {
                let all = to.iter().map(|q| {
                    (p.0.abs_diff(q.0) as f64 * spacing[0])
                        .hypot(p.1.abs_diff(q.1) as f64 * spacing[1])
                });
                all.fold(f64::INFINITY, f64::min)
            })
            .collect();
        distances.sort_by(f64::total_cmp);
        distances
    };
    let both = [nearest(&a_edge, &b_edge), nearest(&b_edge, &a_edge)];
    let at95 = |sorted: &Vec<f64>| {
        let place = 0.95 * (sorted.len() - 1) as f64;
        let below = (0..sorted.len())
            .rfind(|&index| index as f64 <= place)
            .expect("0 is");
        let above = sorted[(below + 1).min(sorted.len() - 1)];
        sorted[below] + (above - sorted[below]) * (place - below as f64)
    };
    let mut together = both.concat();
    together.sort_by(f64::total_cmp);
    SurfaceDistances {
        hausdorff95: both.iter().map(at95).fold(0.0, f64::max),
        pooled95: at95(&together),
        directed95: [at95(&both[0]), at95(&both[1])],
        average: together.iter().sum::<f64>() / together.len() as f64,
    }
}
