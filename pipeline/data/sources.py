"""Where the four files of a data set come from: mirrors, another address, a folder, or scikit-learn."""

import time
from io import BytesIO
from pathlib import Path

import numpy as np

from pipeline.data import idx
from pipeline.data.catalogue import CATALOGUE, SPLIT_SEED, STEMS, RawFile, open_file
from pipeline.errors import DataError
from pipeline.progress import Reporter

TIMEOUT = 30
"""Seconds that a mirror may stay silent."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt at a mirror."""


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
    return {stem: open_file(stem, stem, idx.encode(array)) for stem, array in zip(STEMS, arrays, strict=True)}


def read_folder(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return the name and the bytes of each of the four files (by stem) in ``folder``, ``.gz`` before plain.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    try:
        paths = [path for stem in STEMS for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()]
        found = {path.name.removesuffix(".gz"): path for path in reversed(paths)}
        if len(found) < len(STEMS):
            raise DataError(_explain_folder(folder))
        return {stem: (found[stem].name, found[stem].read_bytes()) for stem in STEMS}
    except OSError as error:
        raise DataError(f"source: expected files to read in {folder}, received: {error.strerror}.") from None


def _explain_folder(folder: Path) -> str:
    expected = f"expected the four files {', '.join(STEMS)}, each plain or as .gz"
    if not folder.is_dir():
        return f"source: {folder} {'is a file' if folder.exists() else 'does not exist'}; {expected}, in a folder."
    names = sorted(path.name for path in folder.iterdir())
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")  # noqa: PLR2004
    return (
        f"source: {expected}, in {folder}, found {found or 'an empty folder'}. Rename the files, or name their folder."
    )


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
                    files[stem] = _fetch_published(mirror, stem, digest, reporter)
                    givers.append(mirror)
        except DataError as error:
            failures.append(str(error))
            reporter.note(f"Mirror failed: {error}")
        else:
            return files, " and ".join(dict.fromkeys(givers))
    raise DataError(
        f"dataset: expected {name} from one of its mirrors, received it from none. {' '.join(failures)} "
        "Two ways out: `--source FOLDER-OR-URL` takes the four IDX files from elsewhere, and `--dataset digits` "
        "needs no network."
    )


def _fetch_published(mirror: str, stem: str, digest: str, reporter: Reporter) -> RawFile:
    address = f"{mirror}{stem}.gz"
    file = open_file(stem, address, fetch(address, reporter))
    if not file.has(digest):
        received = file.digest(digest.partition(":")[0])
        raise DataError(f"{address}: expected the content digest {digest}, received {received}.")
    return file


def fetch_address(base: str, reporter: Reporter) -> dict[str, RawFile]:
    """Return the four files from under the address ``base``, as ``<stem>.gz`` or, where there is none, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched either way, or is not what its name says.
    """
    return {stem: _fetch_either(base, stem, reporter) for stem in STEMS}


def _fetch_either(base: str, stem: str, reporter: Reporter) -> RawFile:
    failures: list[str] = []
    for address in (f"{base}{stem}.gz", f"{base}{stem}"):
        try:
            return open_file(stem, address, fetch(address, reporter))
        except NoAnswerError:
            raise
        except DataError as error:
            failures.append(str(error))
    raise DataError(f"source: expected {stem}, plain or as .gz, under {base}, received neither. {' '.join(failures)}")


class NoAnswerError(DataError):
    """The server cannot be reached: another file there will not be, either."""


def fetch(address: str, reporter: Reporter) -> bytes:
    """Return what is at ``address``, tried again after a failure that may pass.

    Raises:
        DataError: it cannot be had, with the reason in short; a NoAnswerError where the server did not even answer.
    """
    import requests

    pauses = iter(PAUSES)
    while True:
        try:
            return _fetch_once(address, reporter)
        except OSError as error:  # all that requests raises is one
            pause = next(pauses, None) if _may_pass(error) else None
            if pause is None:
                silent = isinstance(error, requests.ConnectionError | requests.Timeout)
                raise (NoAnswerError if silent else DataError)(f"{address}: {_reason(error)}.") from None
            time.sleep(pause)


def _fetch_once(address: str, reporter: Reporter) -> bytes:
    from pooch import HTTPDownloader

    received = BytesIO()
    progress = _Progress(address.rpartition("/")[2], reporter)
    HTTPDownloader(progressbar=progress, chunk_size=progress.chunk, timeout=TIMEOUT)(address, received, None)
    return received.getvalue()


class _Progress:
    """What pooch takes for a progress bar: passes on to a reporter what has arrived of a file."""

    chunk = 64 * 1024  # bytes between two reports
    total = 0  # pooch sets it; 0: not known

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name, self._reporter, self._done = name, reporter, 0

    def update(self, size: int) -> None:
        self._done += size
        done = min(self._done, self.total) if self.total else self._done
        self._reporter.transfer(self._name, done, self.total or None)

    def reset(self) -> None:
        # At the end pooch resets, and updates by the total; where that is not known, what has been told stands.
        self._done = 0 if self.total else self._done

    def close(self) -> None:
        """Do nothing: the last update has told all."""


def _may_pass(error: OSError) -> bool:
    """Return whether another attempt may go better: not where the server refused, or kept silent for its time."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code >= 500 or error.response.status_code in {408, 429}  # noqa: PLR2004
    return isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError) and not isinstance(
        error, requests.ConnectTimeout
    )


def _reason(error: OSError) -> str:
    """Return why a transfer failed, in a few words: what the operating system said, without urllib3's wrapping."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the transfer broke off before the end"
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    said = (cause.strerror for cause in reversed(causes) if isinstance(cause, OSError) and cause.strerror)
    return next(said, type(error).__name__)
