"""The named data sets, and the four IDX files of a data set: from this package, a mirror, an address or scikit-learn.

Files with the published digests get the name of that data set, all others ``custom-<digest8>``.

MNIST and similar data sets are published in the IDX format: a big-endian header followed by one byte per value; the
last dimension varies fastest. The header is a magic number (two zero bytes, the type of a value: 8 for unsigned bytes,
the number of dimensions) and the size of each dimension in four bytes. Source: Y. LeCun, C. Cortes and C. Burges,
"The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data.contents import Contents, RawPart, classes
from pipeline.data.splits import SPLIT_SEED
from pipeline.errors import DataError, reason, shown
from pipeline.progress import Reporter
from pipeline.settings import option

TIMEOUT = 30
"""Seconds to wait for an answer from a server."""

BUSY = (408, 429, 500, 502, 503, 504)
"""The statuses of a server that may answer soon."""

LARGEST = 2**30
"""Maximum number of bytes of a file from a server, which is held in memory."""

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The names of the four files, in the order in which the digest of the data set combines their digests."""

Kind = Literal["images", "labels"]
"""What an IDX file contains."""

MAGIC: dict[Kind, bytes] = {"images": b"\0\0\x08\x03", "labels": b"\0\0\x08\x01"}
"""The first bytes of an IDX file of images (N, H, W) and of labels (N,)."""

GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952, section 2.3.1)."""

Received = Mapping[str, tuple[str, bytes]]
"""The four files by stem, plain or gzip: where each comes from, and its bytes."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published data set.

    Args:
        digests: of each file in the order of :data:`STEMS`: SHA-256 of the content, or MD5 of the .gz file where only
            that is published.
        class_names: one per label, from 0.
        folder: a folder in this package with the four .gz files, if there is one.
        mirror: otherwise the address below which they are.
        validation: number of training images that are held out for validation by convention: the first ones. None if
            there is no convention.
    """

    digests: tuple[str, ...]
    class_names: tuple[str, ...]
    folder: Path | None = None
    mirror: str = ""
    validation: int | None = None


# MNIST's digests are of the uncompressed content, because equal content may be compressed differently.
CATALOGUE: dict[str, Published] = {
    "mnist": Published(
        folder=Path(__file__).with_name("mnist"),
        digests=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        class_names=tuple("0123456789"),
        validation=5_000,
    ),
    "fashion-mnist": Published(
        mirror="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        digests=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        validation=5_000,
    ),
    "kmnist": Published(
        mirror="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        digests=(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        # Hiragana in Latin letters, because the fonts of figures may lack the originals.
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        validation=5_000,
    ),
    # Not published as IDX files: these are the digests of what make_digits returns.
    "digits": Published(
        digests=(
            "8ed2dd476154bd2a0eba8b36269c79e520ddf8a7be5315d61f7433bef8e2769b",
            "bdf9cf089058a4d34b5c6a6a9d3e2ef4f85e52807037c34e3ac909a46b47b7d5",
            "cc52d54c22a6c9baa0bbebc3c69edd79ea30754e7af2439f7c06d8d3a0475608",
            "59707e290f65c6fd269e5021736c1d729732a85f1226372ed44d81ca251b8d7b",
        ),
        class_names=tuple("0123456789"),
    ),
}


# --- the IDX format -------------------------------------------------------------------------------------------------


def read_idx(content: bytes, *, name: str, kind: Kind) -> NDArray[np.uint8]:
    """Return the array in an IDX file, plain or gzip: images (N, H, W) or labels (N,), read-only.

    Args:
        content: the whole file.
        name: the file's name in errors.
        kind: what the file must contain.

    Raises:
        DataError: it has another magic number, is a damaged gzip file, or has more or fewer bytes than the header
            requires.
    """
    magic = MAGIC[kind]
    try:
        with gzip.open(BytesIO(content)) if content.startswith(GZIP_MAGIC) else BytesIO(content) as file:
            start = file.read(4)
            if start != magic:
                raise DataError(
                    f"{name}: must begin with 0x{magic.hex()}, the magic number of an IDX file of {kind} (unsigned "
                    f"bytes); {f'it begins with {start!r}' if start else 'it is empty'}. Check that this is the right "
                    "file with the right name, and not a web page (HTML) about it."
                )
            sizes = file.read(4 * magic[3])
            shape = struct.unpack(f">{magic[3]}I", sizes.ljust(4 * magic[3], b"\0"))
            values = bytearray()
            while len(values) <= math.prod(shape) and (part := file.read(2**20)):
                values += part  # not all of a file that is larger than its header says
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: must be a whole gzip file, but is damaged ({error}). Download it again.") from None
    expected, found = 4 + 4 * magic[3] + math.prod(shape), 4 + len(sizes) + len(values)
    if found != expected:
        state = f"has {found:,}: it is cut short" if found < expected else "they are followed by more"
        raise DataError(f"{name}: must have {expected:,} bytes, but {state}. Download it again.")
    return np.frombuffer(memoryview(values).toreadonly(), np.uint8).reshape(shape)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """Return the IDX file of images (N, H, W) or labels (N,), not compressed: the inverse of :func:`read_idx`."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def parts_of(received: Received) -> dict[str, RawPart]:
    """Return the parts in four files.

    Raises:
        DataError: a file is not a whole IDX file of images or labels.
    """
    arrays = {
        stem: read_idx(content, name=name, kind="images" if "images" in stem else "labels")
        for stem, (name, content) in received.items()
    }
    return {
        part: RawPart(source=images, examples=arrays[images], labels=arrays[labels])
        for part, images, labels in (("train", *STEMS[:2]), ("test", *STEMS[2:]))
    }


def contents_of(received: Received) -> Contents:
    """Return the content of four files under the name of the published data set with their digests, or ``custom``.

    Raises:
        DataError: a file is not a whole IDX file of images or labels, or they do not fit together.
    """
    parts = parts_of(received)
    classes(parts)
    arrays = (array for part in parts.values() for array in (part.examples, part.labels))
    files = dict(zip(STEMS, map(encode_idx, arrays), strict=True))
    sha256s = tuple(hashlib.sha256(content).hexdigest() for content in files.values())
    md5s = tuple(hashlib.md5(received[stem][1], usedforsecurity=False).hexdigest() for stem in STEMS)
    digest = disk.text_digest(*sha256s)
    for name, known in CATALOGUE.items():
        if known.digests in (sha256s, md5s):
            return Contents(name=name, digest=digest, class_names=known.class_names, files=files)
    largest = max(int(part.labels.max()) for part in parts.values())
    names = tuple(map(str, range(largest + 1)))
    return Contents(name=f"custom-{digest[: disk.SHORT]}", digest=digest, class_names=names, files=files)


# --- where the files come from --------------------------------------------------------------------------------------


def find_idx(folder: Path) -> dict[str, list[Path]]:
    """Return the four files in a folder by stem; if one exists plain and as .gz, the latter.

    Archives may use other names, such as ``train-images.idx3-ubyte``, or capitals.
    """
    found = {
        path.name.lower().removesuffix(".gz").replace(".idx", "-idx"): [path]
        for path in sorted(folder.glob("*"))
        if path.is_file()
    }
    return {stem: found[stem] for stem in STEMS} if found.keys() >= set(STEMS) else {}


def published(name: str, reporter: Reporter) -> tuple[Contents, str]:
    """Return a published data set, and where it comes from.

    Raises:
        DataError: it cannot be read or downloaded, or has other digests.
    """
    if name == "digits":
        return contents_of(make_digits()), "scikit-learn"
    folder, mirror = CATALOGUE[name].folder, CATALOGUE[name].mirror
    try:
        if folder:
            contents = contents_of({stem: (stem, (folder / f"{stem}.gz").read_bytes()) for stem in STEMS})
        else:
            contents = at_address(mirror, reporter)
        if contents.name != name:
            raise DataError(f"The files must have the digests of {name}, but have others.")
    except (DataError, OSError) as error:
        raise DataError(
            f"dataset: {name} cannot be read from {'this package' if folder else 'its mirror'}. {error} Try again "
            f"later; `{option('source', 'FOLDER-OR-URL')}` takes the four IDX files from elsewhere, and "
            f"`{option('dataset', 'digits')}` needs no network."
        ) from None
    # The path of the package on this machine would be stored and logged, so it is not used as the origin.
    return contents, "the pipeline package" if folder else mirror


def at_address(base: str, reporter: Reporter) -> Contents:
    """Return the content of the four files below an address, as ``<stem>.gz`` or, if that does not exist, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched under either name, or does not have the expected content.
    """
    reporter.note(f"Downloading {shown(base)}")
    return contents_of({stem: _fetch(base, stem) for stem in STEMS})


def _fetch(base: str, stem: str) -> tuple[str, bytes]:
    """Return a file below an address with credentials: its address without them, and its bytes.

    A server that is busy is asked again.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    parts, content = urlsplit(base), bytearray()
    busy = Retry(status=2, connect=0, read=0, backoff_factor=0.5, status_forcelist=BUSY, raise_on_status=False)
    with requests.Session() as session:
        session.mount(f"{parts.scheme}://", HTTPAdapter(max_retries=busy))
        for name in (f"{stem}.gz", stem):
            address = parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="").geturl()
            try:
                response = session.get(address, stream=True, timeout=TIMEOUT)
                if response.ok:
                    for chunk in response.iter_content(2**20):
                        content += chunk
                        if len(content) > LARGEST:
                            raise DataError(f"{shown(address)}: must have at most {LARGEST:,} bytes; it has more.")
                    return shown(address), bytes(content)
            except requests.exceptions.ChunkedEncodingError:
                raise DataError(f"{shown(address)}: the transfer was cut short.") from None
            except requests.RequestException as error:
                raise DataError(f"{shown(address)}: {shown(_cause(error))}.") from None
    raise DataError(f"{shown(base)}: must have {stem}, plain or as .gz; the answer is HTTP {response.status_code}.")


def _cause(error: BaseException) -> str:
    """Return the operating system's reason why a connection failed: urllib3's text is long and shows the address."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return reason(error) if isinstance(error, OSError) else str(error)


def make_digits() -> Received:
    """Return scikit-learn's handwritten digits as the four files: 8 × 8 pixels, scaled from 0–16 to 0–255.

    The 1,797 images are the test part of the UCI set "Optical Recognition of
    Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998).
    One fifth of each digit, drawn with a fixed seed, becomes the test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    train, test, train_labels, test_labels = train_test_split(
        pixels, bunch.target.astype(np.uint8), test_size=0.2, stratify=bunch.target, random_state=SPLIT_SEED
    )
    arrays = zip(STEMS, (train, train_labels, test, test_labels), strict=True)
    return {stem: (stem, encode_idx(array)) for stem, array in arrays}
