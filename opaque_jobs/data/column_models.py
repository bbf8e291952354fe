"""How one column of test data is made: a model learned from real values, or from its type alone.

The rule of every model: a value, mean or length that it can give was true of at least `floor` real rows, or is made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["FLOOR", "Model", "key_column", "learn", "mock_model"]

FLOOR: Final = 10
_KNOTS: Final = 100
_FEW: Final = 50
"""Most distinct values of a column of numbers or days that counts as categories."""
_LETTERS: Final = np.array(list("abcdefghijklmnopqrstuvwxyz"))
_MOCK_NULLS: Final = 0.05
_DAYS: Final = (18_262.0, 20_088.0)
_MICROSECONDS_A_DAY: Final = 86_400_000_000


class Model(Protocol):
    """Makes a column."""

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Give `rows` values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nulls:
    """Puts nulls over another model's values."""

    share: float
    inner: Model

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Give values, some null."""
        values = self.inner.make(rows, random)
        if not self.share:
            return values
        return pc.if_else(pa.array(random.random(rows) < self.share), pa.scalar(None, values.type), values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Categories:
    """Frequent values by their frequency; `rest` makes what stands for rare ones."""

    values: pa.Array
    shares: np.ndarray
    rest: Model

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        places = np.searchsorted(np.cumsum(self.shares), random.random(rows), side="right")
        rare = int(np.count_nonzero(places >= len(self.values)))
        pool = pa.concat_arrays([self.values, self.rest.make(rare, random)]) if rare else self.values
        places[places >= len(self.values)] = len(self.values) + np.arange(rare)
        return pool.take(pa.array(places))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Booleans:
    """True and false alike."""

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        return pa.array(random.random(rows) < 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """Numbers between knots; each knot is a mean of neighbouring real values. Also days and points in time, as numbers."""

    knots: np.ndarray
    kind: pa.DataType

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        places = random.random(rows) * (len(self.knots) - 1)
        return _as_type(np.interp(places, np.arange(len(self.knots)), self.knots), self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """Made-up letters of plausible lengths; also bytes."""

    lengths: np.ndarray
    kind: pa.DataType

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        lengths = np.rint(np.interp(random.random(rows) * (len(self.lengths) - 1), np.arange(len(self.lengths)), self.lengths))
        if pa.types.is_fixed_size_binary(self.kind):
            lengths = np.full(rows, self.kind.byte_width)
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        letters = random.choice(_LETTERS, size=int(ends[-1])).astype("S1").tobytes()
        texts = pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(letters)])
        return texts.cast(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lists:
    """Lists and maps: lengths, and a model of what is in them."""

    lengths: np.ndarray
    children: tuple[Model, ...]
    kind: pa.DataType

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        lengths = np.rint(np.interp(random.random(rows) * (len(self.lengths) - 1), np.arange(len(self.lengths)), self.lengths))
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        values = [child.make(offsets[-1].as_py(), random) for child in self.children]
        if pa.types.is_map(self.kind):
            return pa.MapArray.from_arrays(offsets, _numbered(values[0]), values[1]).cast(self.kind)
        return pa.ListArray.from_arrays(offsets, values[0]).cast(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Structs:
    """Structs: a model for each field."""

    children: tuple[Model, ...]
    kind: pa.DataType

    def make(self, rows: int, random: np.random.Generator) -> pa.Array:
        """Draw."""
        arrays = [child.make(rows, random) for child in self.children]
        return pa.StructArray.from_arrays(arrays, fields=[self.kind.field(i) for i in range(self.kind.num_fields)])


def _numbered(keys: pa.Array) -> pa.Array:
    """Give map keys that differ from each other, which a map demands."""
    if pa.types.is_string(keys.type):
        numbers = pa.array(np.arange(len(keys)) % 1000).cast(pa.string())
        return pc.binary_join_element_wise(keys, numbers, "-")
    return _as_type(np.arange(len(keys), dtype=np.float64) % 100, keys.type) if _is_numeric(keys.type) else keys


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_date, types.is_timestamp)
    return any(test(kind) for test in tests)


def _as_type(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        return pa.array(values).cast(kind)
    if pa.types.is_decimal(kind):
        most = 10.0 ** min(15, kind.precision - kind.scale) - 1
        clipped = pa.array(np.round(np.clip(values, -most, most), min(kind.scale, 6)))
        return pc.round(clipped, min(kind.scale, 6)).cast(pa.decimal128(38, kind.scale), safe=False).cast(kind)
    low, high = _range(kind)
    whole = pa.array(np.clip(np.rint(values), low, high).astype(np.int64))
    if pa.types.is_date(kind):
        return whole.cast(pa.int32()).cast(kind)
    return whole.cast(kind)


def _range(kind: pa.DataType) -> tuple[float, float]:
    if not pa.types.is_integer(kind):
        return -9e18, 9e18
    bits = min(kind.bit_width, 62)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if pa.types.is_signed_integer(kind) else (0.0, 2.0 ** (bits - 1) - 1)


def _as_numbers(values: pa.Array) -> Any:
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        values = values.cast(pa.int64())
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers[np.isfinite(numbers)]


def _knots(numbers: np.ndarray, floor: int) -> np.ndarray | None:
    """Give means of neighbouring values, each of at least `floor`; None if there are too few values."""
    count = min(_KNOTS, len(numbers) // floor)
    if not count:
        return None
    return np.array([piece.mean() for piece in np.array_split(np.sort(numbers), count)])


def learn(column: pa.Array, kind: pa.DataType, *, floor: int) -> Model:
    """Learn a column's model from real values."""
    present = column.drop_null()
    nulls = column.null_count / len(column) if min(len(present), column.null_count) >= floor else float(not len(present))
    return _Nulls(share=nulls if column.null_count >= floor else 0.0, inner=_learn_present(present, kind, floor))


def _learn_present(values: pa.Array, kind: pa.DataType, floor: int) -> Model:
    if len(values) < floor:
        return mock_model(kind, nullable=False)
    types = pa.types
    if types.is_struct(kind):
        children = tuple(learn(child, kind.field(i).type, floor=floor) for i, child in enumerate(values.flatten()))
        return _Structs(children=children, kind=kind)
    if types.is_list(kind) or types.is_map(kind):
        return _learn_lists(values, kind, floor)
    rest: Model = mock_model(kind, nullable=False)
    if _is_numeric(kind):
        knots = _knots(_as_numbers(values), floor)
        rest = rest if knots is None else _Numbers(knots=knots, kind=kind)
        if pc.count_distinct(values).as_py() > _FEW:
            return rest
    elif not types.is_boolean(kind):
        lengths = _knots(pc.binary_length(values).cast(pa.float64()).to_numpy(zero_copy_only=False), floor)
        rest = rest if lengths is None else _Texts(lengths=lengths, kind=kind)
    return _frequent(values, rest, floor)


def _learn_lists(values: pa.Array, kind: pa.DataType, floor: int) -> Model:
    offsets = values.offsets.to_numpy()
    lengths = _knots(np.diff(offsets).astype(np.float64), floor)
    if lengths is None:
        return mock_model(kind, nullable=False)
    window = slice(int(offsets[0]), int(offsets[-1]))
    if pa.types.is_map(kind):
        inner = [(values.keys[window], kind.key_type), (values.items[window], kind.item_type)]
    else:
        inner = [(values.values[window], kind.value_type)]
    return _Lists(lengths=lengths, children=tuple(learn(child, each, floor=floor) for child, each in inner), kind=kind)


def _frequent(values: pa.Array, rest: Model, floor: int) -> Model:
    counts = values.value_counts()
    kept = counts.filter(pc.greater_equal(counts.field("counts"), floor))
    if not len(kept):
        return rest
    order = np.argsort(-kept.field("counts").to_numpy(), kind="stable")
    kept = kept.take(pa.array(order))
    return _Categories(values=kept.field("values"), shares=kept.field("counts").to_numpy() / len(values), rest=rest)


def mock_model(kind: pa.DataType, *, nullable: bool) -> Model:
    """Make a column's model from its type alone."""
    return _Nulls(share=_MOCK_NULLS if nullable else 0.0, inner=_mock_present(kind))


def _mock_present(kind: pa.DataType) -> Model:
    types = pa.types
    lengths = np.array([0.0, 3.0])
    if types.is_boolean(kind):
        return _Booleans()
    if _is_numeric(kind):
        return _Numbers(knots=_mock_knots(kind), kind=kind)
    if types.is_struct(kind):
        fields: Sequence[Any] = [kind.field(i) for i in range(kind.num_fields)]
        return _Structs(children=tuple(mock_model(f.type, nullable=f.nullable) for f in fields), kind=kind)
    if types.is_list(kind):
        return _Lists(lengths=lengths, children=(mock_model(kind.value_type, nullable=True),), kind=kind)
    if types.is_map(kind):
        children = (mock_model(kind.key_type, nullable=False), mock_model(kind.item_type, nullable=True))
        return _Lists(lengths=lengths, children=children, kind=kind)
    return _Texts(lengths=np.array([3.0, 12.0]), kind=kind)


def _mock_knots(kind: pa.DataType) -> np.ndarray:
    if pa.types.is_date(kind):
        return np.array(_DAYS)
    if pa.types.is_timestamp(kind):
        return np.array(_DAYS) * _MICROSECONDS_A_DAY / (1_000 if kind.unit == "ms" else 1)
    return np.array([0.0, 100.0 if pa.types.is_integer(kind) else 1.0])


def key_column(kind: pa.DataType, rows: int, distinct_share: float, random: np.random.Generator) -> pa.Array:
    """Make a column to join on: numbers from 1 on, in random order, of which every data set has another half.

    So each key of one data set is in another, if that is no smaller, with probability one half: a join finds rows, and an outer
    or anti join does too.

    Args:
        kind: Its type; texts are `key-00000001`.
        rows: How many.
        distinct_share: Share of distinct values; 1 makes every key once.
        random: Source of chance.
    """
    distinct = max(1, round(rows * distinct_share))
    own = random.permutation(np.arange(1, 2 * distinct + 1))[:distinct]
    numbers = own[:rows] if distinct >= rows else random.choice(own, size=rows)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        texts = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width=8, padding="0")
        return pc.binary_join_element_wise("key", texts, "-").cast(kind)
    if _is_numeric(kind):
        return _as_type(numbers.astype(np.float64), kind)
    return mock_model(kind, nullable=False).make(rows, random)
