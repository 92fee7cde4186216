"""Read files of images: pictures, IDX files, and Parquet files in parts of bounded memory, as a model's pixels.

A picture becomes grey, as it is seen: turned the way its camera was held, what is transparent in contrast to what is
not. :mod:`pipeline.serving.digit_segmentation` brings it into the form of the model's images. A row of a Parquet file
is an image of H × W numbers from 0 to 255, in one of these forms:

- one list of H · W numbers, or H lists of W, of fixed size or not; or an Arrow tensor of fixed shape (H, W);
- H · W columns of numbers whose names differ by digits alone, such as ``pixel0``, ``pixel1``, …;
- a picture file as Hugging Face's ``datasets`` stores it: ``struct<bytes: binary, path: string>``.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from scipy import ndimage

from pipeline.data import formats, idx
from pipeline.errors import DataError, UsageError, first_line
from pipeline.kinds.images import Images
from pipeline.serving.answers import NO_OTHERS, SIZE
from pipeline.serving.digit_segmentation import FINEST, Grey, Pixels, fit
from pipeline.settings import option

IDX_ENDINGS = (".idx", ".gz", "-ubyte")

PIXELS = 2**19
"""Pixels of a part at most."""

IN_MEMORY = 2**20
"""Bytes of a Parquet file's rows at a time, as the file states them; and of a column that are read from the disk."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "ICO", "TGA")
"""Formats that Pillow reads itself. It hands others (EPS) to separate programs."""

OTHER_VIEWS = ("MPO", "ICO")
"""Formats whose further pictures show the first one again: a camera's depth or light, an icon's other sizes."""

MOST_PIXELS = 2**26
"""Pixels of a picture, each of which takes about eight bytes: above every phone's camera but the largest."""

PAPER_AND_INK = 64
"""Least difference in brightness, of 255, within the opaque part of a picture that shows paper as well as ink."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow refuses twice as many, and those of a picture in a picture (ICO)
warnings.filterwarnings("ignore", module=r"PIL\.")  # about pictures that are read all the same, or named in an error


class ImageFiles:
    """Reads files of images.

    Args:
        form: of the images that the model reads.
        column: of a Parquet file that holds the pixels; None: found by its type.
        columns: for sequences alone.

    Raises:
        UsageError: there are ``columns``.
    """

    wanted = "a picture or an IDX, Parquet or NumPy file"

    @staticmethod
    def endings() -> tuple[str, ...]:
        """Return how the names of files end that are taken from a folder."""
        return (*Image.registered_extensions(), ".heic", ".heif", *IDX_ENDINGS, ".parquet", ".npz")

    def __init__(self, form: Images, column: str | None = None, columns: str | None = None) -> None:
        if columns:
            raise UsageError(f"columns: expected none for a model of images, received {columns}. They are for tables.")
        self.size = max(1, min(SIZE, PIXELS // (form.height * form.width)))
        self._form = form
        self._column = column

    def columns(self, file: Path, name: str) -> pa.Schema:
        """Return the columns that a Parquet file has beside the pixels.

        Raises:
            DataError: see :meth:`parts`.
        """
        if not _is_parquet(file):
            return NO_OTHERS.schema
        with _parquet(file, name) as opened:
            return self._split(opened.schema_arrow, name)[1]

    def lengths(self, values: NDArray[Any]) -> None:
        """Return None: all images have as many steps."""

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the images of a file in parts (n, H, W), 0–255, with the other columns of their rows.

        Raises:
            DataError: the file is damaged, or holds something that is not an image of this size; raised after the
                parts before.
        """
        form = self._form
        if _is_parquet(file):
            yield from self._rows(file, name)
        elif idx.is_idx(file):
            for images in idx.stream(file, name=name, height=form.height, width=form.width, rows=self.size):
                yield images, NO_OTHERS
        elif file.suffix == ".npz":
            images = formats.read_array(file).examples
            for first in range(0, len(images), self.size):
                part = pa.FixedShapeTensorArray.from_numpy_ndarray(images[first : first + self.size])
                yield self._images(pa.record_batch({"x": part}), name, first), NO_OTHERS
        else:
            for page in pages(file, name=name, form=form):
                yield page[np.newaxis], NO_OTHERS

    def _rows(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        with _parquet(file, name) as opened:
            pixels, others = self._split(opened.schema_arrow, name)
            place = name if len(pixels) > 1 else f"{name}: column {pixels[0]}"
            groups = [opened.metadata.row_group(number) for number in range(opened.num_row_groups)]
            largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
            count = 0
            for batch in opened.iter_batches(max(1, min(self.size, int(IN_MEMORY / max(1, largest))))):
                table = pa.Table.from_batches([batch])
                yield self._images(batch.select(pixels), place, count), table.select(others.names).cast(others)
                count += len(batch)

    def _split(self, schema: pa.Schema, name: str) -> tuple[list[str], pa.Schema]:
        """Return the columns that hold the pixels, and the others; of a dictionary the type of its values.

        Raises:
            DataError: there are none with pixels, or several candidates.
        """
        column, form = self._column, self._form
        found = [field.name for field in schema if _holds_images(field.type) and column in (None, field.name)]
        pixels = found or ([] if column else _numbered(schema, form.height * form.width))
        if not pixels or len(found) > 1:
            received = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            advice = f"Write the {form.height} × {form.width} pixels of each image as a list of numbers."
            if found:
                advice = f"Choose one of them: {option('column', found[0])}."
            elif any(map(_is_bytes, schema.types)):
                advice = "Write pixels as lists of numbers, and picture files as struct<bytes, path>."
            raise DataError(
                f"{name}: expected {f'a column {column!r}' if column else 'one column'} of lists of numbers, the "
                f"pixels, received the columns {received}. {advice}"
            )
        return pixels, pa.schema([_plain(field) for field in schema if field.name not in pixels])

    def _images(self, rows: pa.RecordBatch, place: str, first: int) -> NDArray[Any]:
        """Return the images (n, H, W) of some rows, of which the first has the number ``first``.

        Raises:
            DataError: a row is not an image of the form's size; it is named.
        """
        try:
            return self._decoded(rows, f"{place}, row {first:,}")
        except ValueError as error:
            size = f"{self._form.height} × {self._form.width} = {self._form.height * self._form.width}"
            if len(rows) == 1:
                problem = f"expected {size} numbers from 0 to 255, received {error}."
                raise DataError(f"{place}, row {first:,}: {problem}") from None
        return np.concatenate([self._images(rows.slice(row, 1), place, first + row) for row in range(len(rows))])

    def _decoded(self, rows: pa.RecordBatch, place: str) -> NDArray[Any]:
        """Return the images of rows; ValueError: one of them is not an image."""
        form = self._form
        if pa.types.is_struct(rows.schema.types[0]):
            if len(rows) > 1:
                raise ValueError("pictures, which are read one by one")
            content = (rows.column(0)[0].as_py() or {}).get("bytes")
            if not content:
                raise DataError(f"{place}: expected the bytes of a picture file, received none. Embed them.")
            return read(BytesIO(content), name=place, form=form)[np.newaxis]
        pixels = _numbers(rows.columns)
        if pixels.shape[1:] not in {(form.height, form.width), (form.height * form.width,)}:
            raise ValueError(" × ".join(f"{each:,}" for each in pixels.shape[1:]) + " numbers")
        bad = pixels[~((pixels >= 0) & (pixels <= 255))]  # noqa: PLR2004 - NaN is neither
        if bad.size:
            raise ValueError(f"{bad[0]:g}")
        return pixels.reshape(-1, form.height, form.width)


def _is_parquet(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"PAR1"


@contextmanager
def _parquet(file: Path, name: str) -> Iterator[pa.parquet.ParquetFile]:
    """Open a Parquet file; what Arrow raises about a damaged one becomes an error that names it."""
    try:
        with pa.parquet.ParquetFile(file, buffer_size=IN_MEMORY, pre_buffer=False) as opened:  # not whole row groups
            yield opened
    except (OSError, KeyError, pa.ArrowException) as error:  # KeyError: two columns of one name
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(
            f"{name}: expected a Parquet file, received one that does not read ({first_line(error)}). Write it again."
        ) from None


def _numbers(columns: list[pa.Array]) -> NDArray[Any]:
    """Return the numbers in columns, or in the lists or tensors of one column; ValueError: a row differs."""
    if len(columns) > 1:
        return np.column_stack([each.to_numpy(zero_copy_only=False) for each in columns])
    values, shape = columns[0], [len(columns[0])]
    while _item(values.type):
        if values.null_count:
            raise ValueError("null")
        if isinstance(values.type, pa.FixedShapeTensorType):
            return np.asarray(values.to_numpy_ndarray())
        lengths = pa.compute.list_value_length(values).unique()
        if len(lengths) > 1:
            raise ValueError("lists of unequal lengths")
        shape.append(lengths[0].as_py())
        values = values.flatten()
    return np.reshape(values.to_numpy(zero_copy_only=False), shape)


def _holds_images(kind: pa.DataType) -> bool:
    """Return whether values are lists of numbers, lists of such lists, tensors of numbers, or picture files."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    inner = _item(kind) and (_item(_item(kind)) or _item(kind))
    return bool(inner and (pa.types.is_integer(inner) or pa.types.is_floating(inner)))


def _item(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the items of a list or a tensor; None for other types."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return kind.value_type if is_list or isinstance(kind, pa.FixedShapeTensorType) else None


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _numbered(schema: pa.Schema, count: int) -> list[str]:
    """Return the ``count`` columns of numbers whose names differ by digits alone; none if there are no such."""
    numbers = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    patterns = {each: re.sub(r"\d+", "#", each) for each in numbers}
    counts = Counter(patterns.values())
    return [each for each in numbers if counts[patterns[each]] == count]


def read(file: Path | BinaryIO, *, name: str, form: Images) -> Pixels:
    """Return the pixels (H, W), 0–255, of a picture file, or of the first of its pages.

    Raises:
        DataError: see :func:`pages`.
    """
    return next(pages(file, name=name, form=form))


def pages(file: Path | BinaryIO, *, name: str, form: Images) -> Iterator[Pixels]:
    """Yield the pixels (H, W), 0–255, of each page of a TIFF file, each frame of a GIF, or the one picture of a file.

    Args:
        file: the picture, in one of :data:`FORMATS`.
        name: the file's name in errors.
        form: the form of the images that the model reads.

    Raises:
        DataError: it is not a picture, is damaged, or has too many pixels; raised after the pages before.
    """
    for brightness in _opened(file, name):
        yield fit(brightness, form)


def _opened(file: Path | BinaryIO, name: str) -> Iterator[Grey]:
    """Yield the brightness of each page."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as opened, _explained(name):
        _check_heic(opened.read(12), name)
        opened.seek(0)
        with Image.open(opened, formats=FORMATS) as picture:
            for page in ImageSequence.Iterator(picture):
                _check_pixels(page, name)
                yield grey(page)
                if picture.format in OTHER_VIEWS:
                    return


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn anything that Pillow raises into an error that names the file: its decoders raise errors of all kinds."""
    expected = f"{name}: expected a picture such as a PNG or JPEG file, received"
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{expected} a file that is not a picture.") from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: expected at most {MOST_PIXELS:,} pixels, received more. Make it smaller.") from None
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{expected} a damaged one ({reason}).") from None


def _check_pixels(picture: Image.Image, name: str) -> None:
    """Check a page's size by its header; a large JPEG is then decoded at reduced size, unless it is progressive."""
    width, height = picture.size
    picture.draft("L", (2 * FINEST, 2 * FINEST))
    decoded = width * height if "progressive" in picture.info else picture.width * picture.height
    if decoded > MOST_PIXELS:
        raise DataError(
            f"{name}: expected at most {MOST_PIXELS:,} pixels, received {width:,} × {height:,}. Make it smaller."
        )


def _check_heic(start: bytes, name: str) -> None:
    """Refuse a file that starts as HEIF files do (ISO/IEC 23008-12): a size, ``ftyp``, a brand."""
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"):
        raise DataError(
            f"{name}: expected a picture such as a PNG or JPEG file, received HEIC, which is not read. Make a JPEG "
            "of it: on macOS `sips -s format jpeg FILE --out FILE.jpg`, elsewhere `heif-convert FILE FILE.jpg` or "
            "`magick FILE FILE.jpg`; an iPhone takes JPEG by Settings, Camera, Formats, Most Compatible."
        )


def grey(picture: Image.Image) -> Grey:
    """Return a picture's brightness (rows, columns), 0–255: its luma (ITU-R BT.601) as it is seen."""
    seen = _reduced(_upright(picture))
    if seen.mode.startswith("I") or seen.mode == "F":  # 16 bits a pixel, or more
        return _deep(np.asarray(seen, np.float32))
    if not seen.has_transparency_data:
        return np.asarray(seen.convert("RGB").convert("L"), np.float32)
    brightness, opacity = np.moveaxis(np.asarray(seen.convert("RGBA").convert("LA"), np.float32), -1, 0)
    opacity = opacity / 255
    return np.asarray(brightness * opacity + _behind(brightness, opacity) * (1 - opacity), np.float32)


def _upright(picture: Image.Image) -> Image.Image:
    """Return the picture turned as its metadata says; damaged metadata turns nothing."""
    picture.load()
    with suppress(Exception):  # readers of metadata, too, raise errors of all kinds
        picture = ImageOps.exif_transpose(picture)
    return picture


def _reduced(picture: Image.Image) -> Image.Image:
    """Return the picture at about the size that is needed, before it takes more bytes a pixel."""
    factor = max(picture.size) // (2 * FINEST)
    if factor < 2:  # noqa: PLR2004 - nothing to reduce
        return picture
    if picture.mode.startswith("I;"):
        picture = picture.convert("I")
    elif picture.mode not in ("L", "RGB", "RGBA", "CMYK", "I", "F"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture.reduce(factor)


def _behind(brightness: Grey, opacity: Grey) -> float:
    """Return the brightness behind a transparent picture: its paper's at the rim, or the contrast to ink alone."""
    opaque = opacity > 0.5  # noqa: PLR2004 - half
    if not opaque.any():
        return 0
    darkest, brightest = np.percentile(brightness[opaque], [2, 98])
    rim = opaque & ndimage.binary_dilation(~opaque, iterations=2)
    if brightest - darkest > PAPER_AND_INK and rim.any():
        return float(np.median(brightness[rim]))
    return 255 if brightness[opaque].mean() < 128 else 0  # noqa: PLR2004 - half of it


def _deep(values: Grey) -> Grey:
    """Return the brightness of pixels with more than 8 bits; floats are from 0 to 1 if none is above.

    Raises:
        ValueError: some are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("not all of its pixels are finite numbers")
    values = values - min(values.min(initial=0), 0)
    brightest = values.max(initial=0)
    scale = next((255 / limit for limit in (1.0, 255.0, 65_535.0) if brightest <= limit), 255 / brightest)
    return np.asarray(values * scale, np.float32)
