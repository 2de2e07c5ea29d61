"""Tables of others: a parquet file of a few kB can hold gigabytes of one repeated text, and is read no further than is fair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, missing_extra

FLOOR = 2**29
"""Bytes that any file may unfold to."""
RATIO = 100
"""Times its own size that a larger file may unfold to; dictionaries of honest ones reach 20."""
BATCH = 256


def read_table(file: Path, columns: Sequence[str] | None = None) -> Any:
    """The file as a `pyarrow.Table`.

    Raises:
        MedgrpoError: it unfolds to far more than it is on the disk, or pyarrow is not installed.
        OSError, ValueError: it is no parquet file (pyarrow's own).
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "data", f"reading {file}") from error
    limit = max(FLOOR, RATIO * file.stat().st_size)
    size, batches = 0, []
    with parquet.ParquetFile(file) as opened:
        for batch in opened.iter_batches(batch_size=BATCH, columns=list(columns) if columns else None):
            size += batch.nbytes
            if size > limit:
                raise MedgrpoError(
                    f"{file} unfolds to more than {limit // 2**20:,} MiB, from {file.stat().st_size // 2**10:,} KiB on the disk",
                    expected="a table of about the size of its texts",
                    hint="if it is honest, write it again in parts",
                )
            batches.append(batch)
        schema = opened.schema_arrow.with_metadata(opened.schema_arrow.metadata)
    if columns:
        schema = pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)
    table = pa.Table.from_batches(
        [batch.cast(schema) if batch.schema != schema else batch for batch in batches], schema
    )
    return table.combine_chunks()
