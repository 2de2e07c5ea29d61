//! The border to Python: check shapes, release the GIL, call the core, return arrays.

mod boxes;
mod columns;
mod completions;
mod masks;
mod precision;
mod text;

use pyo3::prelude::*;

/// The compiled module `medgrpo._reward_core`.
#[pymodule]
fn _reward_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    text::register(module)?;
    masks::register(module)?;
    boxes::register(module)?;
    precision::register(module)
}
