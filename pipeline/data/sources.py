"""Where the four files of a data set come from: this package, mirrors, another address, a folder, or scikit-learn."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import numpy as np

from pipeline import digests
from pipeline.data import idx
from pipeline.data.datasets import CATALOGUE, SPLIT_SEED, STEMS, RawFile, open_file
from pipeline.data.transfer import NoAnswerError, fetch
from pipeline.errors import DataError, reason
from pipeline.progress import Reporter
from pipeline.settings import option, shown


def make_digits() -> dict[str, RawFile]:
    """Return scikit-learn's handwritten digits as the four files: 8 × 8 pixels, their 0–16 scaled to 0–255.

    The 1,797 images are those of the UCI set "Optical Recognition of
    Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998), its test part.
    One fifth of each digit, drawn with a fixed seed, becomes the test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=SPLIT_SEED
    )
    arrays = (train_images, train_labels, test_images, test_labels)
    return {stem: open_file(stem, stem, BytesIO(idx.encode(array))) for stem, array in zip(STEMS, arrays, strict=True)}


# --- a folder -------------------------------------------------------------------------------------------------------


def digests_in(folder: Path) -> dict[str, str]:
    """Return the digest of each file in ``folder`` that is one of the four, by its name.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    with _reading(folder):
        return {path.name: digests.of_file(path) for paths in _find(folder).values() for path in paths}


def read_folder(folder: Path, expected: Mapping[str, str]) -> dict[str, RawFile]:
    """Return the four files (by stem) in ``folder``, ``.gz`` before plain where it holds one as both.

    Args:
        folder: that holds them.
        expected: what :func:`digests_in` gave. It is looked at as the files are read, and once more at the end.

    Raises:
        DataError: a file is missing, cannot be read, is no IDX file or changes meanwhile; or it is there twice, with
            different contents.
    """
    with _reading(folder):
        found = {stem: [_open(path, stem) for path in paths] for stem, paths in _find(folder).items()}
    received = {Path(file.name).name: file.received["sha256"] for files in found.values() for file in files}
    if not (expected == received == digests_in(folder)):
        raise DataError(
            f"source: expected files in {folder} that stay as they are, but they changed while they were read. "
            "Wait until they are complete, then run this again."
        )
    for first, *others in found.values():
        for other in others:
            if other.sha256 != first.sha256:
                raise DataError(
                    f"source: expected {first.name} and {other.name} to hold the same, received two different "
                    "contents. Remove the one that is not meant."
                )
    return {stem: files[0] for stem, files in found.items()}


def _open(path: Path, stem: str) -> RawFile:
    with path.open("rb") as file:
        return open_file(stem, str(path), file)


def _find(folder: Path) -> dict[str, list[Path]]:
    """Return where each of the four files (by stem) is, ``.gz`` first: twice where it is there as both.

    Archives unpack them under other names, too: ``train-images.idx3-ubyte``, or in capitals.
    """
    found: dict[str, list[Path]] = {stem: [] for stem in STEMS}
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in sorted(names, key=lambda path: path.suffix.lower() != ".gz"):
        stem = path.name.lower().removesuffix(".gz").replace(".idx", "-idx")
        if stem in found and path.is_file():
            found[stem].append(path)
    if not all(found.values()):
        raise DataError(_explain_folder(folder))
    return found


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"source: expected files to read in {folder}, received: {reason(error)}.") from None


def _explain_folder(folder: Path) -> str:
    expected = f"expected the four files {', '.join(STEMS)}, each plain or as .gz"
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "is a link to nothing" if folder.is_symlink() else "does not exist"
        return f"source: {folder} {state}; {expected}, in a folder."
    names = sorted(map(_listed, folder.iterdir()))
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")  # noqa: PLR2004
    return (
        f"source: {expected}, in {folder}, found {found or 'an empty folder'}. Rename the files, or name their folder."
    )


def _listed(path: Path) -> str:
    return f"{path.name}/" if path.is_dir() else path.name if path.is_file() else f"{path.name} (no file)"


def read_package(name: str, reporter: Reporter) -> dict[str, RawFile] | None:
    """Return the four files of a published data set that come with this package; None where they do not."""
    published = CATALOGUE[name]
    if published.folder is None or not published.folder.is_dir():
        return None
    try:
        files = read_folder(published.folder, digests_in(published.folder))
        for stem, digest in zip(STEMS, published.digests, strict=True):
            _check_published(files[stem], digest)
    except DataError as error:
        reporter.note(f"Asking the mirrors of {name}. {error}")
        return None
    return files


def _check_published(file: RawFile, digest: str) -> None:
    if not file.has(digest):
        received = file.digest(digest.partition(":")[0])
        raise DataError(f"{file.name}: expected the content digest {digest}, received {received}.")


# --- mirrors, or another address ------------------------------------------------------------------------------------


def fetch_mirrors(name: str, reporter: Reporter) -> tuple[dict[str, RawFile], str]:
    """Return the four files of a published data set, each from the first mirror that gives it, and where from.

    Raises:
        DataError: no mirror gave them; says why each failed, and the ways out.
    """
    files: dict[str, RawFile] = {}
    givers: list[str] = []
    failures: list[str] = []
    published = CATALOGUE[name]
    for mirror in published.mirrors:
        try:
            for stem, digest in zip(STEMS, published.digests, strict=True):
                if stem not in files:
                    file = _fetch(mirror, stem, f"{stem}.gz", reporter)
                    _check_published(file, digest)
                    files[stem] = file
                    givers.append(mirror)
        except DataError as error:
            failures.append(str(error))
            reporter.note(f"Mirror failed: {error}")
        else:
            return files, " and ".join(dict.fromkeys(givers))
    raise DataError(
        f"dataset: expected {name} from one of its mirrors, received it from none. {' '.join(failures)} "
        f"Two ways out: `{option('source', 'FOLDER-OR-URL')}` takes the four IDX files from elsewhere, and "
        f"`{option('dataset', 'digits')}` needs no network."
    )


def fetch_address(base: str, reporter: Reporter) -> dict[str, RawFile]:
    """Return the four files from under the address ``base``, as ``<stem>.gz`` or, where there is none, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched either way, or is not what its name says.
    """
    return {stem: _fetch_either(base, stem, reporter) for stem in STEMS}


def _fetch_either(base: str, stem: str, reporter: Reporter) -> RawFile:
    failures: list[str] = []
    for name in (f"{stem}.gz", stem):
        try:
            return _fetch(base, stem, name, reporter)
        except NoAnswerError:
            raise
        except DataError as error:
            failures.append(str(error))
    raise DataError(
        f"source: expected {stem}, plain or as .gz, under {shown(base)}, received neither. {' '.join(failures)}"
    )


def _fetch(base: str, stem: str, name: str, reporter: Reporter) -> RawFile:
    """Return the file ``stem`` that goes by ``name`` under an address, whose credentials and query are used for it."""
    parts = urlsplit(base)
    address = parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="").geturl()

    def take(file: BinaryIO) -> RawFile:
        return open_file(stem, shown(address), file)

    return fetch(address, take, reporter)
