//! Python functions over batches of text.

use pyo3::prelude::*;

/// Adds this file's functions to the compiled module.
pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
