"""The data sets: what is published of each, how it is fetched, recognised, and kept as raw files.

A data set is four IDX files (:data:`STEMS`). Whatever gave them, their
content is recognised by its digest: four that match what is published carry
that name, all others ``custom-<digest8>``. They are kept plain under

    <data_dir>/raw/<name>/      the four files and manifest.json

and such a folder gets its name only when everything in it is verified.
"""

import dataclasses
import hashlib
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import digests, idx
from pipeline.errors import DataError, UsageError
from pipeline.reporting import Reporter
from pipeline.settings import MIRRORS, DataSettings

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""The names of the four files, in the order in which their digests make up that of the data set."""

MANIFEST = "manifest.json"

DIGITS = "digits"

SPLIT_SEED = 20_240_501
"""Seed of every split that is made here. No setting: runs with other seeds shall see the same split."""

TIMEOUT = 30
"""Seconds that a mirror may stay silent."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt at a mirror."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published of a data set.

    Args:
        digests: of each file in the order of :data:`STEMS`, as ``sha256:…`` of
            its content, or ``md5:…`` of its .gz where only that is published.
        class_names: one per label, from 0.
        mirrors: base addresses, the first one tried first.
        validation: how many training images, the first ones, are held out for
            validation by convention. None: there is no convention.
    """

    digests: tuple[str, ...]
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...] = ()
    validation: int | None = None


# MNIST's digests are those of the content: .gz files differ by the time stamp in their header, the content does not.
CATALOGUE: dict[str, Published] = {
    "mnist": Published(
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
        # Hiragana, in Latin letters: the fonts of a figure may lack the others.
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        validation=5_000,
    ),
    # Published nowhere as IDX files; these are what make_digits gives.
    DIGITS: Published(
        digests=(
            "sha256:8ed2dd476154bd2a0eba8b36269c79e520ddf8a7be5315d61f7433bef8e2769b",
            "sha256:bdf9cf089058a4d34b5c6a6a9d3e2ef4f85e52807037c34e3ac909a46b47b7d5",
            "sha256:cc52d54c22a6c9baa0bbebc3c69edd79ea30754e7af2439f7c06d8d3a0475608",
            "sha256:59707e290f65c6fd269e5021736c1d729732a85f1226372ed44d81ca251b8d7b",
        ),
        class_names=tuple("0123456789"),
    ),
}


# --- one file, and four of them -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One of the four files as it was obtained.

    Args:
        name: as it was found, such as ``train-images-idx3-ubyte.gz``.
        received: its bytes as they were found.
        content: the IDX file in it, not compressed.
        sha256: digest of ``content``.
    """

    name: str
    received: bytes = dataclasses.field(repr=False)
    content: bytes = dataclasses.field(repr=False)
    sha256: str

    def digest(self, algorithm: str) -> str:
        """Return this file's digest as it is published: ``sha256:…`` of its content, ``md5:…`` as received."""
        if algorithm == "sha256":
            return f"sha256:{self.sha256}"
        return f"md5:{hashlib.md5(self.received, usedforsecurity=False).hexdigest()}"

    def has(self, published: str) -> bool:
        """Return whether this file's digest is the ``published`` one."""
        return self.digest(published.partition(":")[0]) == published


def open_file(stem: str, name: str, received: bytes) -> RawFile:
    """Return the file ``stem`` that was ``received`` under ``name``, decompressed and checked to be whole.

    Raises:
        DataError: it is not a whole IDX file of images or labels, whichever the stem says.
    """
    content = idx.decompress(received, name=name)
    idx.read(content, name=name, kind="images" if "images" in stem else "labels")
    return RawFile(name=name, received=received, content=content, sha256=hashlib.sha256(content).hexdigest())


def recognise(files: Mapping[str, RawFile]) -> str:
    """Return the name of the data set that these four files (by stem) are: a published one, or ``custom-<digest8>``."""
    for name, published in CATALOGUE.items():
        if all(files[stem].has(digest) for stem, digest in zip(STEMS, published.digests, strict=True)):
            return name
    return f"custom-{digest_of(files)[: digests.SHORT]}"


def digest_of(files: Mapping[str, RawFile]) -> str:
    """Return the digest of the data set: one of the digests of the content of its four files."""
    return digests.of_texts(*(files[stem].sha256 for stem in STEMS))


# --- where they come from -------------------------------------------------------------------------------------------


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


def is_address(source: str) -> bool:
    """Return whether a ``source`` is an address rather than a folder.

    Raises:
        UsageError: it is an address, but not of http or https.
    """
    scheme, separator, _ = source.partition("://")
    if separator and scheme.lower() not in {"http", "https"}:
        raise UsageError(f"source: expected 'mirrors', a folder, or a base URL of http or https, received {source!r}.")
    return bool(separator)


def key_of(source: str) -> str:
    """Return the form of a ``source`` that says the same from every folder: an absolute path; addresses end in /."""
    if source == MIRRORS:
        return source
    if is_address(source):
        return source.rstrip("/") + "/"
    return str(expanded(Path(source)).resolve())


def expanded(path: Path) -> Path:
    """Return the path with a leading ~ replaced, as the shell does not do within ``-P source=~/…``."""
    try:
        return path.expanduser()
    except RuntimeError:  # the ~ of a user who does not exist: a folder of that name, then
        return path


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


# --- the raw folder -------------------------------------------------------------------------------------------------


class Provenance(BaseModel):
    """Where the content of a raw folder was obtained from, once.

    Args:
        source: the ``source`` that was asked for, as :func:`key_of` writes it.
        origin: who gave it: a mirror's or another address, a folder, or ``scikit-learn``.
        inputs: for a folder, the digests of the files in it as they were found.
        obtained: when.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    origin: str
    inputs: dict[str, str]
    obtained: datetime


class _Manifest(BaseModel):
    """What ``manifest.json`` of a raw folder holds. ``files``: digests of the content, by stem."""

    name: str
    digest: str
    code: str
    files: dict[str, str]
    provenances: list[Provenance]


@dataclass(frozen=True, kw_only=True)
class RawData:
    """A raw folder: four plain IDX files that are kept under the name of their data set.

    Args:
        name: of a published data set, or ``custom-<digest8>``.
        digest: of the data set (:func:`digest_of`).
        folder: holds the files, under their stems.
        files: the digest of each, by stem.
        code: digest of the code that kept them.
        provenance: where they were obtained from, by the source that was asked for.
    """

    name: str
    digest: str
    folder: Path
    files: Mapping[str, str]
    code: str
    provenance: Provenance


def raw_folder(data_dir: Path) -> Path:
    """Return the folder that holds all raw folders."""
    return expanded(data_dir) / "raw"


def locate(settings: DataSettings) -> RawData:
    """Return the raw data of a data set: by its name, or what was last obtained from the ``source`` given.

    Whether the files are as they were is another question: see :func:`verify`.

    Raises:
        DataError: there is none yet.
    """
    key, root = key_of(settings.source), raw_folder(settings.data_dir)
    folders = [root / settings.dataset] if key == MIRRORS else _folders(root)
    kept = [raw for folder in folders for raw in _read(folder) if key in (MIRRORS, raw.provenance.source)]
    if not kept:
        what = settings.dataset if key == MIRRORS else f"data from {key}"
        raise DataError(
            f"data_dir: expected {what} in {root}, found none. First run `{command('download', settings)}`."
        )
    return max(kept, key=lambda raw: raw.provenance.obtained)


def verify(raw: RawData) -> None:
    """Check that the files of a raw folder are what they were when they were kept.

    Raises:
        DataError: one is missing, or has changed; names it.
    """
    check_files(raw.folder, raw.files, remedy="Run `pipeline download` again, with the same dataset and source.")


def read_arrays(raw: RawData) -> list[npt.NDArray[np.uint8]]:
    """Return what the four files hold, in the order of :data:`STEMS`: images (N, H, W) and labels (N,), twice.

    Raises:
        DataError: a file is missing, or not what it was when it was kept.
    """
    verify(raw)
    return [idx.read((raw.folder / stem).read_bytes(), name=str(raw.folder / stem)) for stem in STEMS]


def keep(
    root: Path, name: str, files: Mapping[str, RawFile], *, source: str, origin: str, inputs: dict[str, str], code: str
) -> RawData:
    """Write the four files (by stem) under ``root/name``; whatever was there gives way once they are complete.

    The other arguments are recorded; see :class:`Provenance` and :class:`RawData`.
    """
    folder, digest = root / name, digest_of(files)
    provenance = Provenance(source=source, origin=origin, inputs=inputs, obtained=datetime.now(UTC))
    others = [raw.provenance for raw in _read(folder) if raw.digest == digest and raw.provenance.source != source]
    manifest = _Manifest(
        name=name,
        digest=digest,
        code=code,
        files={stem: file.sha256 for stem, file in files.items()},
        provenances=[*others, provenance],
    )
    with replacing(folder) as incoming:
        for stem, file in files.items():
            (incoming / stem).write_bytes(file.content)
        (incoming / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return _read(folder)[-1]


def _folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"[!.]*/{MANIFEST}"))


def _read(folder: Path) -> list[RawData]:
    """Return what a raw folder holds, once for each provenance; nothing where it has no manifest that can be read."""
    try:
        manifest = _Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return []
    return [
        RawData(
            name=manifest.name,
            digest=manifest.digest,
            folder=folder,
            files=manifest.files,
            code=manifest.code,
            provenance=provenance,
        )
        for provenance in manifest.provenances
    ]


# --- folders that are whole, or not there ---------------------------------------------------------------------------


@contextmanager
def locked(root: Path, reporter: Reporter) -> Iterator[None]:
    """Make the folder ``root`` and hold it against other processes; what one that was killed left there is removed.

    Raises:
        DataError: the folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.note(f"Waiting for another process that works in {root}.")
            lock.acquire()
    except OSError as error:
        raise DataError(f"data_dir: expected a folder to write to, received {root}: {error.strerror}.") from None
    try:
        for left in (*root.glob(".incoming-*"), *root.glob(".outgoing-*")):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a new folder to fill; it takes the place of ``target`` when the block ends well, and vanishes otherwise.

    Raises:
        DataError: the folder cannot be written.
    """
    name = uuid.uuid4().hex
    incoming, outgoing = target.with_name(f".incoming-{name}"), target.with_name(f".outgoing-{name}")
    try:
        incoming.mkdir()
        yield incoming
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    except OSError as error:
        raise DataError(f"data_dir: expected to write {target}, received: {error.strerror}.") from None
    finally:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)


def check_files(folder: Path, files: Mapping[str, str], *, remedy: str) -> None:
    """Check that files (name → digest) in ``folder`` are intact.

    Raises:
        DataError: one is missing, or has another digest; ends with the ``remedy``.
    """
    for name, expected in files.items():
        try:
            received = digests.of_file(folder / name)
        except OSError as error:
            received = error.strerror or type(error).__name__
        if received != expected:
            raise DataError(f"{folder / name}: expected the digest {expected}, received {received}. {remedy}")


def command(stage: str, settings: DataSettings) -> str:
    """Return what to type for a ``stage`` to work on the data that these settings name."""
    options = [
        f"--{field.name.replace('_', '-')} {shlex.quote(str(value))}"
        for field in dataclasses.fields(DataSettings)
        if (value := getattr(settings, field.name)) != field.default
    ]
    return " ".join(["pipeline", stage, *options])
