"""The named data sets, and the four IDX files of a data set: from this package, mirrors, an address or scikit-learn.

Files with the published digests get the name of that data set, all others ``custom-<digest8>``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from operator import contains
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pipeline.data import idx
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


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published data set.

    Args:
        digests: digest of each file in the order of :data:`STEMS`: ``sha256:…`` of the content, or ``md5:…`` of the
            .gz file where only that is published.
        class_names: one per label, from 0.
        folder: a folder in this package with the four .gz files, if there is one.
        mirrors: base addresses, in the order in which they are tried.
        validation: number of training images that are held out for validation by convention: the first ones. None if
            there is no convention.
    """

    digests: tuple[str, ...]
    class_names: tuple[str, ...]
    folder: Path | None = None
    mirrors: tuple[str, ...] = ()
    validation: int | None = None


# MNIST's digests are of the uncompressed content, because equal content may be compressed differently.
CATALOGUE: dict[str, Published] = {
    "mnist": Published(
        folder=Path(__file__).with_name("mnist"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        digests=(
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        class_names=tuple("0123456789"),
        validation=5_000,
    ),
    "fashion-mnist": Published(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        digests=(
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
        ),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        validation=5_000,
    ),
    "kmnist": Published(
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        digests=(
            "md5:bdb82020997e1d708af4cf47b453dcf7",
            "md5:e144d726b3acfaa3e44228e80efcd344",
            "md5:5c965bf0a639b31b8f53240b1b52f4d7",
            "md5:7320c461ea6c1c855c0b718fb2a4b134",
        ),
        # Hiragana in Latin letters, because the fonts of figures may lack the originals.
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        validation=5_000,
    ),
    # Not published as IDX files: these are the digests of what make_digits returns.
    "digits": Published(
        digests=(
            "sha256:8ed2dd476154bd2a0eba8b36269c79e520ddf8a7be5315d61f7433bef8e2769b",
            "sha256:bdf9cf089058a4d34b5c6a6a9d3e2ef4f85e52807037c34e3ac909a46b47b7d5",
            "sha256:cc52d54c22a6c9baa0bbebc3c69edd79ea30754e7af2439f7c06d8d3a0475608",
            "sha256:59707e290f65c6fd269e5021736c1d729732a85f1226372ed44d81ca251b8d7b",
        ),
        class_names=tuple("0123456789"),
    ),
}


Received = Mapping[str, tuple[str, bytes]]
"""The four files by stem, plain or gzip: where each comes from, and its bytes."""


def contents_of(received: Received) -> Contents:
    """Return the content of four files under the name of the published data set with their digests, or ``custom``.

    Raises:
        DataError: a file is not a whole IDX file of images or labels, or they do not fit together.
    """
    arrays = {
        stem: idx.read(content, name=name, kind="images" if "images" in stem else "labels")
        for stem, (name, content) in received.items()
    }
    parts = {
        part: RawPart(source=images, examples=arrays[images], labels=arrays[labels])
        for part, images, labels in (("train", *STEMS[:2]), ("test", *STEMS[2:]))
    }
    classes(parts)
    files = {stem: idx.encode(arrays[stem]) for stem in STEMS}
    digests = [
        (
            f"sha256:{hashlib.sha256(files[stem]).hexdigest()}",
            f"md5:{hashlib.md5(received[stem][1], usedforsecurity=False).hexdigest()}",
        )
        for stem in STEMS
    ]
    for name, known in CATALOGUE.items():
        if all(map(contains, digests, known.digests)):
            return Contents(name=name, parts=parts, class_names=known.class_names, files=files)
    largest = max(int(part.labels.max()) for part in parts.values())
    return Contents(name="custom", parts=parts, class_names=tuple(map(str, range(largest + 1))), files=files)


def published(name: str, reporter: Reporter) -> tuple[Contents, str]:
    """Return a published data set from the first place that has it, and the name of this place.

    Raises:
        DataError: no place has it; the message contains the reasons.
    """
    if name == "digits":
        return contents_of(make_digits()), "scikit-learn"
    own, failures = CATALOGUE[name].folder, []
    places: list[Path | str] = [*filter(None, [own]), *CATALOGUE[name].mirrors]
    for place in places:
        try:
            contents = contents_of({stem: _get(place, f"{stem}.gz", reporter) for stem in STEMS})
            if contents.name != name:
                raise DataError(f"{place}: must have files with the digests of {name}; it has others.")
        except (DataError, OSError) as error:
            failures.append(str(error))
            reporter.note(f"A source failed: {error}")
        else:
            # The path of the package on this machine would be stored and logged, so it is not used as the name.
            return contents, "the pipeline package" if place == own else str(place)
    raise DataError(
        f"dataset: {name} cannot be downloaded: all of its mirrors failed. {' '.join(failures)} "
        f"Try again later; `{option('source', 'FOLDER-OR-URL')}` takes the four IDX files from elsewhere, and "
        f"`{option('dataset', 'digits')}` needs no network."
    )


def at_address(base: str, reporter: Reporter) -> Contents:
    """Return the content of the four files below an address, as ``<stem>.gz`` or, if that does not exist, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched under either name, or does not have the expected content.
    """
    return contents_of({stem: _get_either(base, stem, reporter) for stem in STEMS})


def make_digits() -> Received:
    """Return scikit-learn's handwritten digits as the four files: 8 × 8 pixels, scaled from 0–16 to 0–255.

    The 1,797 images are the test part of the UCI set "Optical Recognition of
    Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998).
    One fifth of each digit, drawn with a fixed seed, becomes the test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images, labels = np.round(bunch.images * (255 / 16)), bunch.target
    split = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=SPLIT_SEED)
    arrays = zip(STEMS, (split[0], split[2], split[1], split[3]), strict=True)
    return {stem: (stem, idx.encode(array.astype(np.uint8))) for stem, array in arrays}


def _get_either(base: str, stem: str, reporter: Reporter) -> tuple[str, bytes]:
    """Return a file below an address, as .gz or plain: where it is, for errors, and its bytes."""
    failures = []
    for name in (f"{stem}.gz", stem):
        try:
            return _get(base, name, reporter)
        except DataError as error:
            failures.append(str(error))
    raise DataError(f"source: {shown(base)} must have {stem}, plain or as .gz. {' '.join(failures)}")


def _get(place: Path | str, name: str, reporter: Reporter) -> tuple[str, bytes]:
    """Return a file in a folder, or at an address with credentials: where it is, for errors, and its bytes."""
    if isinstance(place, Path):
        return str(place / name), (place / name).read_bytes()
    parts = urlsplit(place)
    address = parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="").geturl()
    return shown(address), fetch(address, reporter)


def fetch(address: str, reporter: Reporter) -> bytes:
    """Return the file at an address; ask again if the server is busy, and show no credentials.

    Raises:
        DataError: the file cannot be fetched; the message ends with a short reason.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    busy = Retry(status=2, connect=0, read=0, backoff_factor=0.5, status_forcelist=BUSY, raise_on_status=False)
    content = bytearray()
    try:
        with requests.Session() as session:
            session.mount(address, HTTPAdapter(max_retries=busy))
            response = session.get(address, stream=True, timeout=TIMEOUT)
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0)) or None
            for part in response.iter_content(2**16):
                content += part
                if len(content) > LARGEST:
                    raise DataError(f"{shown(address)}: must have at most {LARGEST:,} bytes; the server sends more.")
                reporter.transfer(urlsplit(address).path.rpartition("/")[2], len(content), total)
    except requests.HTTPError as error:
        raise DataError(f"{shown(address)}: HTTP {error.response.status_code}.") from None
    except requests.exceptions.ChunkedEncodingError:
        raise DataError(f"{shown(address)}: the transfer was cut short.") from None
    except requests.RequestException as error:
        raise DataError(f"{shown(address)}: {shown(_cause(error))}.") from None
    return bytes(content)


def _cause(error: BaseException) -> str:
    """Return the operating system's reason why a connection failed: urllib3's text is long and shows the address."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return reason(error) if isinstance(error, OSError) else str(error)
