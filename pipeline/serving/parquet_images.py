"""Parquet files of images: a column of pixels, read in parts, and the other columns, which go along with them.

A row is an image: a list of its H · W pixels, row by row, or of H lists of W,
as Arrow has them (of fixed size or not); numbers from 0 to 255. What a part
takes in memory is bounded by what the file says of itself, however long its
row groups are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.errors import DataError, first_line
from pipeline.settings import option

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""

ENDING = ".parquet"

AT_ONCE = 2**25
"""Bytes of rows, as the file says, that are read at once."""

BUFFER = 2**20  # bytes of a column that are read from the disk at once
BRIGHTEST = 255

Numbers = NDArray[Any]


def is_parquet(path: Path) -> bool:
    """Return whether a file begins like a Parquet file."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def metadata(file: Path | pa.NativeFile) -> dict[bytes, bytes]:
    """Return what a Parquet file says of itself as a whole; nothing if it is none that reads."""
    try:
        return dict(pa.parquet.read_metadata(file).metadata or {})
    except (OSError, pa.ArrowException):
        return {}


def others(path: Path, *, name: str, column: str | None) -> pa.Schema:
    """Return the columns beside the pixels.

    Raises:
        DataError: see :func:`stream`.
    """
    with _opened(path, name) as file:
        return _without(file.schema_arrow, _pixels(file.schema_arrow, column, name))


def stream(
    path: Path, *, name: str, column: str | None, height: int, width: int, rows: int
) -> Iterator[tuple[Numbers, pa.Table]]:
    """Yield the images of a Parquet file in parts (n ≤ ``rows``, H, W), and the other columns of their rows.

    Args:
        path: of the file.
        name: of it, as the error shall name it.
        column: that holds the pixels; None: the only one of lists of numbers.
        height: rows of an image, in pixels.
        width: columns of an image, in pixels.
        rows: of a part, at most.

    Raises:
        DataError: it is damaged, has no such column, or a row that is no image of this size, which shows after the
            parts before it.
    """
    done = 0
    with _opened(path, name) as file:
        index = _pixels(file.schema_arrow, column, name)
        kept = _without(file.schema_arrow, index)
        image = _Image(name, file.schema_arrow.names[index], height, width)
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            image.check_size(group)
            size = max(1, min(rows, AT_ONCE * group.num_rows // max(1, group.total_byte_size)))
            for batch in file.iter_batches(size, row_groups=[number]):
                beside = [_plain(each) for place, each in enumerate(batch.columns) if place != index]
                yield image.numbers(batch.column(index), done), pa.table(beside, kept)
                done += len(batch)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[pa.parquet.ParquetFile]:
    """Open a file; what Arrow raises of a damaged one becomes an error that names it."""
    try:
        with pa.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:  # else a row group at once
            yield file
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{name}: expected a Parquet file, received one that does not read ({first_line(error)}). Write it again."
        ) from None


def _pixels(schema: pa.Schema, column: str | None, name: str) -> int:
    """Return which column holds the pixels."""
    if column is not None:
        found: list[int] = schema.get_all_field_indices(column)
        if len(found) == 1 and _holds_lists(schema.field(found[0]).type):
            return found[0]
        is_there = [str(schema.field(index).type) for index in found]
        received = f"{' and '.join(is_there)} there" if is_there else f"the columns {', '.join(schema.names) or 'none'}"
        raise DataError(f"{name}: expected a column {column!r} of lists of numbers, received {received}.")
    found = [index for index, field in enumerate(schema) if _holds_lists(field.type)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(schema.names[index] for index in found)
        raise DataError(
            f"{name}: expected one column of lists of numbers, the pixels, received {several}. Say which it is: "
            f"{option('column', schema.names[found[0]])}."
        )
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise DataError(f"{name}: expected a column of lists of numbers, the pixels, received the columns {columns}.")


def _holds_lists(kind: pa.DataType) -> bool:
    """Return whether the values are lists of numbers, or of such lists."""
    kind = _stored(kind)
    if not _is_list(kind):
        return False
    inner = _stored(kind.value_type)
    return _is_number(inner) or (_is_list(inner) and _is_number(_stored(inner.value_type)))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return what values are stored as: of a tensor of fixed shape, lists."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _without(schema: pa.Schema, index: int) -> pa.Schema:
    """Return all columns but one; categories as what they stand for."""
    kept = [field for place, field in enumerate(schema) if place != index]
    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in kept]
    return pa.schema([pa.field(field.name, kind) for field, kind in zip(kept, kinds, strict=True)])


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


class _Image:
    """What a row of a file is expected to be.

    Args:
        name: of the file.
        column: with the pixels.
        height: rows of an image, in pixels.
        width: columns of an image, in pixels.
    """

    def __init__(self, name: str, column: str, height: int, width: int) -> None:
        self._column = f"{name}: column {column}"
        self._name, self._height, self._width = column, height, width

    @property
    def _size(self) -> int:
        return self._height * self._width

    def check_size(self, group: pa.parquet.RowGroupMetaData) -> None:
        """Check that a row group does not say of itself that its rows are far too long, before they are read."""
        columns = [group.column(index) for index in range(group.num_columns)]
        pixels = [each.num_values for each in columns if each.path_in_schema.startswith(f"{self._name}.")]
        expected = group.num_rows * self._size
        if max(pixels, default=0) > 2 * expected + AT_ONCE // 8:
            raise DataError(f"{self._column}: {self._expected(group.num_rows)}, received {max(pixels):,} of them.")

    def numbers(self, column: pa.Array, first: int) -> Numbers:
        """Return the pixels (n, H, W) of rows, of which ``first`` is the number of the first one in the file.

        Raises:
            DataError: a row holds something else.
        """
        lists = _storage(column)
        self._check_whole(lists, first, 1, "null")
        if _is_list(_stored(lists.type.value_type)):
            self._check_lengths(lists, first, 1, self._height, "lists in it")
            lists = _storage(lists.flatten())
            self._check_whole(lists, first, self._height, "a null in it")
            self._check_lengths(lists, first, self._height, self._width, "numbers in a list of it")
        else:
            self._check_lengths(lists, first, 1, self._size, "numbers")
        values = _storage(lists.flatten())
        self._check_whole(values, first, self._size, "a null in it")
        numbers: Numbers = values.to_numpy(zero_copy_only=False)
        if numbers.dtype != np.uint8:
            bad = np.flatnonzero(~((numbers >= 0) & (numbers <= BRIGHTEST)))  # NaN is neither
            if len(bad):
                raise self._refused(first + bad[0] // self._size, f"{numbers[bad[0]]:g}")
        return numbers.reshape(-1, self._height, self._width)

    def _check_whole(self, values: pa.Array, first: int, each: int, what: str) -> None:
        """Check that none is null; ``each`` so many make up a row."""
        if values.null_count:
            index = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            raise self._refused(first + index // each, what)

    def _check_lengths(self, lists: pa.Array, first: int, each: int, expected: int, what: str) -> None:
        lengths = pa.compute.list_value_length(lists).to_numpy(zero_copy_only=False)
        bad = np.flatnonzero(lengths != expected)
        if len(bad):
            raise self._refused(first + bad[0] // each, f"{lengths[bad[0]]:,} {what}")

    def _refused(self, row: int, received: str) -> DataError:
        return DataError(f"{self._column}, row {row:,}: {self._expected(1)} from 0 to 255, received {received}.")

    def _expected(self, rows: int) -> str:
        shape = f"{self._height} × {self._width}"
        return f"expected {shape} = {self._size} numbers" + (f" in each of {rows:,} rows" if rows > 1 else "")


def _storage(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
