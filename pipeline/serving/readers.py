"""Read files of examples: images (pictures, IDX, NumPy, Parquet) and sequences (step tables, UCR/UEA archive, NumPy).

A picture becomes grey and upright, and transparent parts become paper. :mod:`pipeline.serving.digit_segmentation`
brings it into the form of the model's images. A row of a Parquet file is an image of H × W numbers from 0 to 255:

- one list of H · W numbers, or H lists of W, of fixed size or not;
- a picture file as Hugging Face's ``datasets`` stores it: ``struct<bytes: binary, path: string>``.

Files of sequences have the formats of :mod:`pipeline.data.formats`; labels may be missing.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from pyarrow import compute, parquet

from pipeline.data import contents, datasets, formats, step_tables
from pipeline.errors import DataError, UsageError, first_line
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind, lengths
from pipeline.kinds.sequences import Sequences
from pipeline.serving.digit_segmentation import FINEST, Grey, Pixels, fit

SIZE = 512
"""Maximum examples in a part, which a core works on at a time: larger parts do not fit into its cache."""

NUMBERS = 2**19
"""Maximum numbers in a part, unless a single sequence has more; a model takes 20 million."""

NO_OTHERS = pa.table({})

IDX_ENDINGS = (".idx", ".gz", "-ubyte")

PICTURES = 16
"""Maximum pictures of a Parquet file in a part: each may have megabytes."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM", "ICO", "TGA")
"""Formats that Pillow reads itself. It hands others (EPS) to separate programs."""

OTHER_VIEWS = ("MPO", "ICO")
"""Formats whose other pictures are variants of the first: a camera's depth or light, an icon's other sizes."""

MOST_PIXELS = 2**26
"""Maximum pixels of a picture, more than most phones' cameras have; each pixel takes about eight bytes."""

PAPER_AND_INK = 64
"""Minimum difference in brightness, of 255, within the opaque part of a picture that shows paper and ink."""

MOST_STEPS = 10_000
"""Maximum steps of a sequence: ``MOST_STEPS`` of a served model, whose code this package cannot import."""

COLUMNS = pa.schema([("id", pa.string()), ("label", pa.string())])
"""The id and the label of a sequence; null and an empty text if its file has none."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses more than twice as many before it decodes them
warnings.filterwarnings("ignore", module=r"PIL\.")  # about pictures that are read anyway, or reported in an error


class ImageFiles:
    """Reads files of images.

    Attributes:
        wanted: a description of the files that it reads.
        endings: endings of the names of files that are read from a folder.

    Args:
        form: the form of the model's images.
        column: the column of a Parquet file that holds the pixels; None: found by its type.
        columns: only for sequences.

    Raises:
        UsageError: there are ``columns``.
    """

    wanted = "a picture or an IDX, Parquet or NumPy file"
    endings = (*Image.registered_extensions(), ".heic", ".heif", *IDX_ENDINGS, ".parquet", ".npz")

    def __init__(self, form: Images, column: str | None = None, columns: str | None = None) -> None:
        if columns:
            raise UsageError(f"columns: is for tables of sequences; this model reads images. Leave out {columns!r}.")
        self.size = max(1, min(SIZE, NUMBERS // (form.height * form.width)))
        self._form = form
        self._column = column
        self._needed = f"needs {form.height} × {form.width} = {form.height * form.width} numbers from 0 to 255"

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the images of a file in parts (n, H, W), 0–255, with the other columns of their rows.

        Raises:
            DataError: the file is damaged, or contains something that is not an image of this size; raised after the
                parts before.
        """
        ending = file.name.lower()
        if ending.endswith(".parquet"):
            yield from self._rows(file, name)
        elif (is_array := ending.endswith(".npz")) or ending.endswith(IDX_ENDINGS):
            images = (
                formats.read_array(file).examples
                if is_array
                else datasets.read_idx(file.read_bytes(), name=name, kind="images")
            )
            for first in range(0, len(images), self.size):
                yield self._checked(images[first : first + self.size], name, first), NO_OTHERS
        else:
            with file.open("rb") as opened:
                found = pages(opened, name=name, form=self._form)
                while some := list(islice(found, self.size)):
                    yield np.stack(some), NO_OTHERS

    def _rows(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        with parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False) as opened:  # not whole row groups
            column = self._pixels_in(opened.schema_arrow, name)
            size = PICTURES if pa.types.is_struct(opened.schema_arrow.field(column).type) else self.size
            for number, batch in enumerate(opened.iter_batches(size)):
                images = self._images(batch[column], f"{name}: column {column}", number * size)
                yield images, pa.table(batch.drop_columns([column]))

    def _pixels_in(self, columns: pa.Schema, name: str) -> str:
        """Return the name of the column that holds the pixels.

        Raises:
            DataError: there is none, or there are several candidates.
        """
        found = [each.name for each in columns if pa.types.is_nested(each.type) and self._column in (None, each.name)]
        if len(found) != 1:
            needed = f"a column {self._column!r}" if self._column else "one column"
            received = ", ".join(f"{each.name} ({each.type})" for each in columns) or "none"
            raise DataError(
                f"{name}: needs {needed} of pixels, as lists; its columns are {received}. Choose one with --column, or "
                "see docs/predict.md."
            )
        return str(found[0])

    def _images(self, column: pa.Array, place: str, first: int) -> NDArray[Any]:
        """Return the images (n, H, W) of some rows; ``first`` is the number of the first of these rows.

        Raises:
            DataError: a row is not an image.
        """
        if pa.types.is_struct(column.type):
            files = enumerate((BytesIO((each or {}).get("bytes") or b"") for each in column.to_pylist()), first)
            return np.stack([read(file, name=f"{place}, row {row:,}", form=self._form) for row, file in files])
        items = 1  # of a row
        for size in self._form.shape if pa.types.is_nested(column.type.value_type) else (math.prod(self._form.shape),):
            lengths = compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
            if (lengths != size).any():
                wrong = (lengths != size).argmax()
                raise DataError(
                    f"{place}, row {first + wrong // items:,}: {self._needed}; got a list of {lengths[wrong]:,} "
                    f"instead of {size:,}."
                )
            column, items = column.flatten(), size
        return self._checked(column.to_numpy(zero_copy_only=False).reshape(-1, *self._form.shape), place, first)

    def _checked(self, images: NDArray[Any], place: str, first: int) -> NDArray[np.float32]:
        """Return images (n, H, W) after a check of their shape and of each number."""
        pixels = self._form.checked(images)
        wrong = np.argwhere(~((pixels >= 0) & (pixels <= 255)))  # noqa: PLR2004 - NaN is neither
        if len(wrong):
            raise DataError(f"{place}, row {first + wrong[0, 0]:,}: {self._needed}; got {pixels[tuple(wrong[0])]:g}.")
        return pixels


class SequenceFiles:
    """Reads files of sequences; it has the attributes of :class:`ImageFiles`.

    Args:
        kind: the kind of the model's sequences.
        column: only for images.
        columns: names of a table's columns that are not features: ``id=…,time=…,label=…``.

    Raises:
        UsageError: there is a ``column``, or ``columns`` is not such a list.
    """

    wanted = "a step table (.parquet, .csv), a file of the UCR/UEA archive (.ts, .tsv) or NumPy arrays (.npz)"
    endings = (".parquet", ".csv", ".ts", ".tsv", ".npz")

    def __init__(self, kind: Sequences, column: str | None = None, columns: str | None = None) -> None:
        if column:
            raise UsageError(f"column: is for models of images; this model reads sequences. Leave out {column!r}.")
        self.size = max(1, min(SIZE, NUMBERS // (kind.longest * len(kind.features))))
        self._kind = kind
        self._names = step_tables.column_names(columns)

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the sequences of a file in parts (n, T, F), padded with NaN at the end, with their ids and labels.

        Raises:
            DataError: the file is damaged, or a sequence does not fit the model; raised after the parts before.
        """
        for raw in self._raw(file, name):
            self._kind.checked(raw.examples)
            values = contents.checked(raw, self._kind.features)
            if values.shape[1] > MOST_STEPS:
                raise DataError(
                    f"{raw.place(lengths(values).argmax())}: must have at most {MOST_STEPS:,} steps; it has "
                    f"{values.shape[1]:,}. Cut it into shorter sequences."
                )
            ids = [None] * len(values) if raw.ids is None else raw.ids
            others = pa.table([pa.array(each, pa.string()) for each in (ids, raw.labels)], COLUMNS)
            count = max(1, NUMBERS // values[0].size)  # fewer if they are longer than the training sequences
            for first in range(0, len(values), count):
                yield values[first : first + count], others.slice(first, count)

    def _raw(self, file: Path, name: str) -> Iterator[contents.RawPart]:
        """Yield the sequences of a file, unchecked.

        Raises:
            DataError: the file is damaged, or lacks a feature.
        """
        if (suffix := file.suffix.lower()) in (".ts", ".tsv", ".npz"):
            raw = formats.read_array(file) if suffix == ".npz" else formats.read_archive(file, labelled=False)
            for first in range(0, len(raw.examples), self.size):
                yield raw.take(np.arange(first, min(first + self.size, len(raw.examples))))
            return
        table = step_tables.read_table(file, self._names, labelled=False)
        values = step_tables.features_of(table, self._names, file, self._kind.features)
        for _, rows in table.groupby(table[self._names["id"]].factorize()[0] // self.size):
            yield step_tables.part_of(rows, self._names, values.loc[rows.index], name)


Reader = ImageFiles | SequenceFiles
"""A reader of the files of one kind; a new kind is a name here."""

READERS: Mapping[type[Kind], Callable[[Any, str | None, str | None], Reader]] = {
    Images: ImageFiles,
    Sequences: SequenceFiles,
}
"""The class that reads the files of each kind; a new kind is a line here."""


# --- pictures -------------------------------------------------------------------------------------------------------


def read(file: BinaryIO, *, name: str, form: Images) -> Pixels:
    """Return the pixels (H, W), 0–255, of a picture file, or of the first of its pages.

    Raises:
        DataError: see :func:`pages`.
    """
    return next(pages(file, name=name, form=form))


def pages(file: BinaryIO, *, name: str, form: Images) -> Iterator[Pixels]:
    """Yield the pixels (H, W), 0–255, of each page of a TIFF file, each frame of a GIF, or the one picture of a file.

    Args:
        file: the picture, in one of :data:`FORMATS`.
        name: the file's name in errors.
        form: the form of the model's images.

    Raises:
        DataError: it is not a picture, is damaged, or has too many pixels; raised after the pages before.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            for page in ImageSequence.Iterator(picture):
                page.draft("L", (2 * FINEST, 2 * FINEST))  # a large JPEG is decoded at reduced size
                yield fit(grey(page), form)
                if picture.format in OTHER_VIEWS:
                    return
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: must be a picture such as a PNG or JPEG file; it is not one, or has a format that is not read, "
            "such as HEIC. Convert it to JPEG."
        ) from None
    except Exception as error:  # Pillow's decoders raise errors of all kinds
        raise DataError(
            f"{name}: must be a whole picture of at most {MOST_PIXELS:,} pixels; reading failed: {first_line(error)}"
        ) from None


def grey(picture: Image.Image) -> Grey:
    """Return a picture's brightness (rows, columns), 0–255: its luma (ITU-R BT.601), upright, on opaque paper."""
    picture.load()
    with suppress(Exception):  # damaged metadata is ignored; its readers also raise errors of all kinds
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):  # 16 bits per pixel, or more: the brightest becomes 255
        values = np.nan_to_num(_averaged(picture.convert("F")))
        return np.asarray(values * (255 / max(values.max(), 1e-9)), np.float32)
    if not picture.has_transparency_data:
        return _averaged(picture.convert("RGB").convert("L"))
    brightness, opacity = np.moveaxis(_averaged(picture.convert("RGBA").convert("LA")), -1, 0)
    opacity = opacity / 255
    return np.asarray(brightness * opacity + _behind(brightness, opacity) * (1 - opacity), np.float32)


def _averaged(picture: Image.Image) -> Grey:
    """Return the values of a picture, at about the size that is needed."""
    return np.asarray(picture.reduce(max(1, max(picture.size) // (2 * FINEST))), np.float32)


def _behind(brightness: Grey, opacity: Grey) -> float:
    """Return the brightness behind a transparent picture: its paper's, or the opposite of its ink's."""
    opaque = opacity > 0.5  # noqa: PLR2004 - half
    if not opaque.any():
        return 0
    darkest, middle, brightest = np.percentile(brightness[opaque], [2, 50, 98])
    if brightest - darkest > PAPER_AND_INK:
        return float(middle)
    return 255 if middle < 128 else 0  # noqa: PLR2004 - half of it
