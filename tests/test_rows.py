"""One type of a row, and the columns that are stored of it."""

from typing import get_type_hints

from medgrpo.data.schema import REQUIRED, ROW_SCHEMA
from medgrpo.models.coordinates import BoxCoordinates
from medgrpo.rows import Row

TYPES = {"str": str, "int": int, "float": float, "list[str]": list[str]}


def test_the_type_of_a_row_has_the_stored_columns_and_those_that_a_model_adds():
    added = BoxCoordinates("thousand").place({}).keys()
    assert get_type_hints(Row).keys() == ROW_SCHEMA.keys() | added


def test_each_column_has_the_type_that_is_stored_and_none_where_it_may_be_unknown():
    for name, kind in ROW_SCHEMA.items():
        expected = TYPES[kind] if name in REQUIRED else TYPES[kind] | None
        assert get_type_hints(Row)[name] == expected, name
