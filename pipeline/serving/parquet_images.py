"""Parquet files of images: the pixels in parts of bounded memory, and the other columns of their rows.

A row is an image of H × W numbers from 0 to 255, in one of these forms:

- one list of H · W numbers, or H lists of W, of fixed size or not; or an Arrow tensor of fixed shape (H, W);
- H · W columns of numbers whose names differ by digits alone, such as ``pixel0``, ``pixel1``, …;
- a picture file as Hugging Face's ``datasets`` stores it: ``struct<bytes: binary, path: string>``.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.errors import DataError, first_line
from pipeline.kinds.images import Images
from pipeline.serving import pictures
from pipeline.settings import option

MAGIC = b"PAR1"
"""First and last bytes of a Parquet file."""

ENDING = ".parquet"

IN_MEMORY = 2**25
"""Bytes of rows, as the file states them, that are read at a time."""

BUFFER = 2**20  # bytes of a column that are read from the disk at a time

Decode = Callable[[pa.RecordBatch, int], NDArray[Any]]
"""Takes rows and the number of the first one; returns their pixels (n, H, W)."""


def is_parquet(path: Path) -> bool:
    """Return whether a file begins like a Parquet file."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def metadata(file: Path | pa.NativeFile) -> dict[bytes, bytes]:
    """Return the key-value metadata of a Parquet file; nothing if the file is not readable as one."""
    try:
        return dict(pa.parquet.read_metadata(file).metadata or {})
    except (OSError, pa.ArrowException):
        return {}


def other_columns(path: Path, *, name: str, column: str | None, form: Images) -> pa.Schema:
    """Return the columns beside the pixels.

    Raises:
        DataError: see :func:`stream`.
    """
    with _opened(path, name) as file:
        return _others(file.schema_arrow, _pixels(file.schema_arrow, column, name, form)[0])


def stream(
    path: Path, *, name: str, column: str | None, form: Images, rows: int
) -> Iterator[tuple[NDArray[Any], pa.Table]]:
    """Yield the images of a Parquet file in parts (n ≤ ``rows``, H, W), with the other columns of their rows.

    Args:
        path: of the file.
        name: of the file in errors.
        column: that holds the pixels; None: found by its type.
        form: of the images that the model reads.
        rows: most rows of a part.

    Raises:
        DataError: the file is damaged, has no such column, or a row is not an image of this size; the parts before it
            have been yielded by then.
    """
    done = 0
    with _opened(path, name) as file:
        columns, decode = _pixels(file.schema_arrow, column, name, form)
        others = _others(file.schema_arrow, columns)
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            size = max(1, min(rows, IN_MEMORY * group.num_rows // max(1, group.total_byte_size)))
            for batch in file.iter_batches(size, row_groups=[number]):
                yield decode(batch, done), pa.table([_plain(batch.column(each)) for each in others.names], others)
                done += len(batch)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[pa.parquet.ParquetFile]:
    """Open a file; what Arrow raises about a damaged one becomes an error that names it."""
    try:
        with pa.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:  # not whole row groups
            yield file
    except (OSError, KeyError, pa.ArrowException) as error:  # KeyError: two columns of one name
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{name}: expected a Parquet file, received one that does not read ({first_line(error)}). Write it again."
        ) from None


def _pixels(schema: pa.Schema, column: str | None, name: str, form: Images) -> tuple[list[str], Decode]:
    """Return the columns that hold the pixels, and what decodes them.

    Raises:
        DataError: there are none, or several candidates.
    """
    found = [field.name for field in schema if _holds_images(field.type) and column in (None, field.name)]
    if len(found) == 1:
        return found, _decoder(schema.field(found[0]).type, found[0], name, form)
    wide = _numbered_columns(schema, form.height * form.width) if column is None and not found else []
    if wide:
        return wide, lambda batch, first: _checked(
            np.column_stack([each.to_numpy(zero_copy_only=False) for each in batch.select(wide)]), name, first, form
        )
    received = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    if found:
        advice = f"Choose one of them: {option('column', found[0])}."
    elif any(_is_bytes(field.type) for field in schema):
        advice = "Write pixels as lists of numbers, and picture files as struct<bytes, path>: bytes may be either."
    else:
        advice = f"Write the {form.height} × {form.width} pixels of each image as a list of numbers."
    wanted = f"a column {column!r}" if column else "one column"
    raise DataError(
        f"{name}: expected {wanted} of lists of numbers, the pixels, received the columns {received}. {advice}"
    )


def _holds_images(kind: pa.DataType) -> bool:
    """Return whether values are lists of numbers, lists of such lists, tensors of numbers, or picture files."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    inner = _item(_item(kind) or pa.null()) or _item(kind) or pa.null()
    return bool(pa.types.is_integer(inner) or pa.types.is_floating(inner))


def _item(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the items of a list or a tensor; None for other types."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return kind.value_type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return kind.value_type if is_list else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _numbered_columns(schema: pa.Schema, count: int) -> list[str]:
    """Return the ``count`` columns of numbers whose names differ by digits alone; none if there are no such."""
    numbers = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    patterns = {each: re.sub(r"\d+", "#", each) for each in numbers}
    counts = Counter(patterns.values())
    return [each for each in numbers if counts[patterns[each]] == count]


def _others(schema: pa.Schema, pixels: Sequence[str]) -> pa.Schema:
    """Return all columns but those of pixels; of a dictionary the type of its values."""
    kept = [field for field in schema if field.name not in {*pixels}]
    return pa.schema(
        [pa.field(each.name, each.type.value_type if pa.types.is_dictionary(each.type) else each.type) for each in kept]
    )


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _decoder(kind: pa.DataType, column: str, name: str, form: Images) -> Decode:
    """Return what decodes a column of this type."""
    place = f"{name}: column {column}"

    def tensors(batch: pa.RecordBatch, first: int) -> NDArray[Any]:
        values = batch.column(column)
        if values.null_count:
            raise _refused(place, first + int(np.argmax(values.is_null())), "null", form)
        return _checked(values.to_numpy_ndarray(), place, first, form)

    def lists(batch: pa.RecordBatch, first: int) -> NDArray[Any]:
        values = batch.column(column)
        lengths = (form.height, form.width) if _item(_item(kind) or pa.null()) else (form.height * form.width,)
        for length in lengths:
            is_right = pa.compute.equal(pa.compute.list_value_length(values), length)
            if values.null_count or not pa.compute.all(is_right).as_py():
                return _row_by_row(batch.column(column), place, first, form)
            values = values.flatten()
        if values.null_count:
            return _row_by_row(batch.column(column), place, first, form)
        return _checked(values.to_numpy(zero_copy_only=False).reshape(len(batch), *lengths), place, first, form)

    def files(batch: pa.RecordBatch, first: int) -> NDArray[Any]:
        rows = enumerate(batch.column(column).to_pylist(), start=first)
        return np.stack([_picture(row, f"{place}, row {number:,}", form) for number, row in rows])

    if isinstance(kind, pa.FixedShapeTensorType):
        return tensors
    return files if pa.types.is_struct(kind) else lists


def _picture(row: Any, place: str, form: Images) -> NDArray[np.uint8]:
    content = row and row["bytes"]
    if not content:
        raise DataError(f"{place}: expected the bytes of a picture file, received none. Embed the files in the table.")
    return pictures.read(BytesIO(content), name=place, form=form)


def _row_by_row(rows: pa.Array, place: str, first: int, form: Images) -> NDArray[Any]:
    """Return the pixels of rows that are not all alike, or rather the error of the first that is not an image."""
    images = []
    for number, row in enumerate(rows.to_pylist(), start=first):
        try:
            image = np.array(row if row is not None else [], np.float64)
        except (TypeError, ValueError):
            raise _refused(place, number, "lists of unequal lengths", form) from None
        images.append(_checked(image[np.newaxis], place, number, form)[0])
    return np.stack(images)


def _checked(pixels: NDArray[Any], place: str, first: int, form: Images) -> NDArray[Any]:
    """Return pixels as images (n, H, W).

    Raises:
        DataError: they have another shape, or hold something that is not a number from 0 to 255.
    """
    if pixels.shape[1:] not in {(form.height, form.width), (form.height * form.width,)}:
        raise _refused(place, first, " × ".join(f"{each:,}" for each in pixels.shape[1:]) + " numbers", form)
    if pixels.dtype != np.uint8:
        bad = np.argwhere(~((pixels >= 0) & (pixels <= 255)))  # noqa: PLR2004 - NaN is neither
        if len(bad):
            raise _refused(place, first + int(bad[0][0]), f"{pixels[tuple(bad[0])]:g}", form)
    return pixels.reshape(-1, form.height, form.width)


def _refused(place: str, row: int, received: str, form: Images) -> DataError:
    size = f"{form.height} × {form.width} = {form.height * form.width}"
    return DataError(f"{place}, row {row:,}: expected {size} numbers from 0 to 255, received {received}.")
