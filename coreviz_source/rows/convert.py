"""Values become columns: one object per kind of value, with a fast way for whole columns and one for single values.

Arrow converts a whole column as fast as Python touches one value. Only a column whose values are not all of the
documented type is converted value by value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from coreviz_source.tables import ARROW_TYPES, Kind
from coreviz_source.values import canonical_id, clean_text, in_range, parse_timestamp

_NONE = type(None)
_INT64 = 2**63


class Converter(Protocol):
    """Converts values of one kind."""

    kind: ClassVar[Kind]

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        """All values at once.

        Returns:
            None if they are not all of the documented type, or null. Then arrow may raise as well.
        """

    def one(self, value: Any) -> Any:
        """One value that is not null; None if it does not fit."""


class Text:
    """Strings, byte for byte. A lone surrogate becomes U+FFFD."""

    kind: ClassVar[Kind] = "text"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        return pa.array(values, pa.string())

    def one(self, value: Any) -> str | None:
        return clean_text(value) if isinstance(value, str) else None


class Id:
    """Ids: UUIDs in their canonical form, any other string as given."""

    kind: ClassVar[Kind] = "id"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        if not _are(values, str):
            return None
        forms: dict[Any, Any] = {value: value and canonical_id(value) for value in set(values)}
        return pa.array([forms[value] for value in values], pa.string())

    def one(self, value: Any) -> str | None:
        return clean_text(canonical_id(value)) if isinstance(value, str) else None


class Bigint:
    """Whole numbers of 64 bits. 2.0 is one of them."""

    kind: ClassVar[Kind] = "bigint"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        # arrow would cut off fractions
        return pa.array(values, pa.int64()) if _are(values, int) else None

    def one(self, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
            return None
        return int(value) if -_INT64 <= value < _INT64 else None


class Double:
    """Finite numbers."""

    kind: ClassVar[Kind] = "double"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        if not _are(values, float, int):
            return None
        numbers = pa.array(values, pa.float64())
        return numbers if pc.all(pc.is_finite(numbers)).as_py() in (True, None) else None

    def one(self, value: Any) -> float | None:
        return finite(value) if isinstance(value, (int, float)) else None


class Bool:
    """True and false."""

    kind: ClassVar[Kind] = "bool"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        return pa.array(values, pa.bool_())

    def one(self, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None


class Timestamp:
    """ISO 8601 dates and times as moments in UTC."""

    kind: ClassVar[Kind] = "timestamp"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        moments = pa.array(values, pa.string()).cast(ARROW_TYPES["timestamp"])
        ends = pc.min_max(moments.cast(pa.int64()))
        return moments if in_range(ends["min"].as_py() or 0) and in_range(ends["max"].as_py() or 0) else None

    def one(self, value: Any) -> datetime | None:
        return parse_timestamp(value)


class Json:
    """JSON texts, given as bytes."""

    kind: ClassVar[Kind] = "json"

    def column(self, values: Sequence[Any]) -> pa.Array | None:
        return pa.array(values, pa.string())

    def one(self, value: Any) -> str | None:
        return bytes(value).decode("utf-8", "replace")


_ALL: tuple[Converter, ...] = (Text(), Id(), Bigint(), Double(), Bool(), Timestamp(), Json())
CONVERTERS: dict[Kind, Converter] = {converter.kind: converter for converter in _ALL}


def convert(values: Sequence[Any], kind: Kind) -> tuple[pa.Array, dict[int, Any]]:
    """Makes a column of a kind.

    Returns:
        The column, and by their index the values that do not fit; the column is null there.
    """
    converter = CONVERTERS[kind]
    try:
        column = converter.column(values)
        if column is not None:
            return column, {}
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError):
        pass
    fitting = [None if value is None else converter.one(value) for value in values]
    misfits = {n: v for n, (v, f) in enumerate(zip(values, fitting, strict=True)) if f is None and v is not None}
    return pa.array(fitting, ARROW_TYPES[kind]), misfits


def finite(value: Any) -> float | None:
    """A number, or a string that is one, as a finite double; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _are(values: Sequence[Any], *types: type) -> bool:
    return set(map(type, values)) <= {*types, _NONE}
