"""Find the four files of a data set: in this package, on mirrors, at an address, in a folder, in scikit-learn."""

import time
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pipeline import disk
from pipeline.data import formats, idx
from pipeline.data.contents import Contents, listed
from pipeline.data.datasets import CATALOGUE, DIGITS, SPLIT_SEED, STEMS
from pipeline.data.raw_data import RawFile
from pipeline.errors import DataError, reason
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address, option, shown

TIMEOUT = 30
"""Seconds without an answer after which a server is given up."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt to fetch a file."""


def obtain(settings: DataSettings, reporter: Reporter) -> tuple[dict[str, RawFile] | Contents, str]:
    """Return the four files (by stem) that the settings name, or what is read from others, and where it comes from.

    Raises:
        DataError: the source does not hold, or no mirror gave, four whole IDX files.
        UsageError: ``source`` is an address of neither http nor https.
    """
    if settings.published:
        return (make_digits(), "scikit-learn") if settings.dataset == DIGITS else fetch(settings.dataset, reporter)
    if is_address(settings.source):
        return fetch_address(settings.source, reporter), shown(settings.source).rstrip("/") + "/"
    source, dataset = Path(settings.key), _chosen(settings)
    if formats.recognise(source, dataset):
        columns, image_size = settings.columns or None, settings.image_size or None
        return formats.read(source, dataset=dataset, columns=columns, image_size=image_size), settings.key
    return read_folder(source), settings.key


def digests_of(settings: DataSettings) -> dict[str, str]:
    """Return the digest of each file that is read from a folder or file, by its name.

    Raises:
        DataError: the source or one of its files is missing.
        OSError: one cannot be read.
    """
    source = Path(settings.key)
    if not source.exists():
        raise DataError(f"source: {source} does not exist. Expected {formats.EXPECTED}, or four IDX files.")
    files = formats.files_of(source, _chosen(settings)) or [file for files in _find(source).values() for file in files]
    return {str(file.relative_to(source.parent)): disk.file_digest(file) for file in files}


def _chosen(settings: DataSettings) -> str | None:
    """Return the name of the data set if it was given, else None."""
    return None if settings.dataset == DataSettings.dataset else settings.dataset


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
    arrays = zip(STEMS, (train_images, train_labels, test_images, test_labels), strict=True)
    return {stem: RawFile.of(idx.encode(array), stem=stem, name=stem) for stem, array in arrays}


# --- a folder -------------------------------------------------------------------------------------------------------


def read_folder(folder: Path) -> dict[str, RawFile]:
    """Return the four files (by stem) in ``folder``.

    Raises:
        DataError: a file is missing, cannot be read or is no whole IDX file; or it is there both as .gz and plain, with
            different contents.
    """
    files = {}
    for stem, paths in _find(folder).items():
        first, *others = (RawFile.of(_read(path), stem=stem, name=str(path)) for path in paths)
        if any(other.sha256 != first.sha256 for other in others):
            raise DataError(
                f"source: expected {' and '.join(map(str, paths))} to have equal content, received different contents. "
                "Remove one of them."
            )
        files[stem] = first
    return files


def _find(folder: Path) -> dict[str, list[Path]]:
    """Return the paths of each of the four files (by stem) in a folder: .gz, plain, or both.

    Archives give them other names, too: ``train-images.idx3-ubyte``, or capitals.
    """
    expected = f"source: expected the four files {', '.join(STEMS)}, each plain or as .gz, in {folder}"
    found: dict[str, list[Path]] = {stem: [] for stem in STEMS}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{expected}, received: {reason(error)}. Name the folder that holds them.") from None
    for path in paths:
        stem = path.name.lower().removesuffix(".gz").replace(".idx", "-idx")
        if stem in found and path.is_file():
            found[stem].append(path)
    if not all(found.values()):
        names = listed(f"{path.name}/" if path.is_dir() else path.name for path in paths)
        raise DataError(f"{expected}, found {names}. Rename the files, or use {formats.EXPECTED}.")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"source: expected to read {path}, received: {reason(error)}.") from None


# --- this package, mirrors, or another address ----------------------------------------------------------------------


def fetch(name: str, reporter: Reporter) -> tuple[dict[str, RawFile], str]:
    """Return the four files of a published data set, each from the first place that has it, and the places' names.

    Raises:
        DataError: no place has them; the message says why each failed and what to do.
    """
    published = CATALOGUE[name]
    files: dict[str, RawFile] = {}
    givers: list[str] = []
    failures: list[str] = []
    places: list[Path | str] = [published.folder] if published.folder else []
    for place in (*places, *published.mirrors):
        try:
            for stem, digest in list(zip(STEMS, published.digests, strict=True))[len(files) :]:
                file = _get(place, stem, f"{stem}.gz", reporter)
                if digest not in file.digests:
                    received = " and ".join(file.digests)
                    raise DataError(f"{shown(str(place))}, {stem}: expected the digest {digest}, received {received}.")
                files[stem] = file
                # The path of the package on this machine would be stored and logged, so it is not used as the name.
                givers.append(f"the {name} files of this package" if place == published.folder else str(place))
        except DataError as error:
            failures.append(str(error))
            reporter.note(f"A source failed: {error}")
        else:
            return files, " and ".join(dict.fromkeys(givers))
    raise DataError(
        f"dataset: expected {name} from one of its mirrors, but all failed. {' '.join(failures)} "
        f"Try again later; `{option('source', 'FOLDER-OR-URL')}` takes the four IDX files from elsewhere, and "
        f"`{option('dataset', 'digits')}` needs no network."
    )


def fetch_address(base: str, reporter: Reporter) -> dict[str, RawFile]:
    """Return the four files below the address ``base``, as ``<stem>.gz`` or, if that does not exist, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched under either name, or does not have the expected content.
    """
    return {stem: _fetch_either(base, stem, reporter) for stem in STEMS}


def _fetch_either(base: str, stem: str, reporter: Reporter) -> RawFile:
    failures = []
    for name in (f"{stem}.gz", stem):
        try:
            return _get(base, stem, name, reporter)
        except DataError as error:
            failures.append(str(error))
    raise DataError(
        f"source: expected {stem}, plain or as .gz, under {shown(base)}, received neither. {' '.join(failures)}"
    )


def _get(place: Path | str, stem: str, name: str, reporter: Reporter) -> RawFile:
    """Return the file ``stem`` with the name ``name`` in a folder, or at an address with credentials."""
    if isinstance(place, Path):
        return RawFile.of(_read(place / name), stem=stem, name=str(place / name))
    parts = urlsplit(place)
    address = parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="").geturl()
    return RawFile.of(download(address, reporter), stem=stem, name=shown(address))


def download(address: str, reporter: Reporter) -> bytes:
    """Return the file at an address; retry after temporary failures, and show no credentials.

    Raises:
        DataError: the file cannot be fetched; the message ends with a short reason.
    """
    import requests
    from pooch import HTTPDownloader

    pauses = [*PAUSES]
    while True:
        content, bar = BytesIO(), _ProgressBar(address, reporter)
        try:
            HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)(address, content, None)
        except requests.RequestException as error:
            status = error.response.status_code if isinstance(error, requests.HTTPError) else None
            refused = status is not None and status < 500 and status not in {408, 429}  # noqa: PLR2004
            if refused or isinstance(error, requests.Timeout) or not pauses:
                raise DataError(f"{shown(address)}: {f'HTTP {status}' if status else _cause(error)}.") from None
            time.sleep(pauses.pop(0))
        else:
            return content.getvalue()


def _cause(error: BaseException) -> str:
    """Return why a connection failed, in the operating system's words: urllib3's text is long and shows the address."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return reason(error) if isinstance(error, OSError) else str(error)


class _ProgressBar:
    """Passes the progress of a download on to a reporter; pooch sets ``total`` and calls the methods."""

    total = 0  # bytes; 0: unknown

    def __init__(self, address: str, reporter: Reporter) -> None:
        self._address, self._reporter, self._done = shown(address), reporter, 0

    def update(self, size: int) -> None:
        """Add ``size`` bytes: pooch passes the size of its buffer, even if less has arrived."""
        self._done += size
        done = min(self._done, self.total or self._done)
        self._reporter.transfer(urlsplit(self._address).path.rpartition("/")[2], done, self.total or None)

    def reset(self) -> None:
        """Do nothing, because a reporter takes absolute numbers."""

    close = reset
