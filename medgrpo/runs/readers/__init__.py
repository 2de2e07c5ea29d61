"""Readers of training logs: one small module per family, a table that finds the right one.

A reader turns what is on disk into `Parsed`; `medgrpo.runs.record` settles repeated steps.
"""

from __future__ import annotations

from medgrpo.runs.readers.files import read
from medgrpo.runs.readers.parsed import Parsed

__all__ = ["Parsed", "read"]
