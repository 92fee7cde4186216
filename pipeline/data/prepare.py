"""Download and split the data that the settings name (`download`, `preprocess`); skip unchanged data.

The data comes from this package, mirrors, an address, a folder, a file or scikit-learn. An intact copy of unchanged
data is kept: published data never changes; other data is unchanged if its files (by digest), the parameters and the
code are the same.
"""

import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pipeline import disk
from pipeline.data import formats, idx, processed, stored
from pipeline.data.contents import Contents, listed
from pipeline.data.datasets import CATALOGUE, STEMS
from pipeline.data.splits import SPLIT_SEED, DataSet
from pipeline.data.stored import RawFile, Stored
from pipeline.errors import DataError, reason
from pipeline.progress import Reporter
from pipeline.settings import DataSettings, is_address, option, shown

TIMEOUT = 30
"""Seconds to wait for an answer from a server."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt to fetch a file."""

Files = dict[str, RawFile]
"""The four files by stem."""


def prepared(settings: DataSettings, reporter: Reporter) -> tuple[DataSet, dict[str, float]]:
    """Return the data that the settings name, and the seconds of each stage as metrics.

    Raises:
        DataError: it cannot be obtained, or cannot be split and learned.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    started = time.perf_counter()
    raw = download(settings, reporter)
    obtained = time.perf_counter()
    data = processed.split(raw, settings.data_dir, reporter)
    return data, {"seconds_download": obtained - started, "seconds_preprocess": time.perf_counter() - obtained}


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the checked and split data set, in ``<data_dir>/processed/<name>-<digest8>/``; make it if necessary.

    Raises:
        DataError: the data is not downloaded yet, a raw file has changed since, or the files do not fit together.
    """
    raw = stored.locate(settings)
    raw.verify()
    return processed.split(raw, settings.data_dir, reporter)


def download(settings: DataSettings, reporter: Reporter) -> Stored:
    """Return the verified raw data that the settings name; it is obtained unless an intact, unchanged copy exists.

    Raises:
        DataError: neither the source nor a mirror has four complete IDX files.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    fixed = settings.published or is_address(settings.source)
    inputs = {} if fixed else digests_of(settings)
    with stored.locked(stored.raw_folder(settings.data_dir), reporter):
        try:
            raw = stored.locate(settings)
            raw.verify()
            unchanged = settings.published or (raw.code, raw.inputs) == (stored.code(), inputs)
        except DataError:
            unchanged = False
        if unchanged:
            reporter.note(f"Skipped download: {raw.name} in {raw.folder} is unchanged and intact.")
        else:
            obtained, origin = _fetched(settings, reporter)
            raw = stored.keep(settings, obtained, origin=origin, inputs=inputs)
            reporter.note(f"Obtained {raw.name} from {origin}; saved in {raw.folder}.")
    for note in raw.notes:
        reporter.note(note)
    return raw


def _fetched(settings: DataSettings, reporter: Reporter) -> tuple[Files | Contents, str]:
    """Return the data that the settings name, and where it comes from."""
    if settings.published:
        is_made = settings.dataset == "digits"
        return (make_digits(), "scikit-learn") if is_made else fetch(settings.dataset, reporter)
    if is_address(settings.source):
        return fetch_address(settings.source, reporter), shown(settings.source).rstrip("/") + "/"
    source, columns, image_size = Path(settings.key), settings.columns or None, settings.image_size or None
    contents = formats.read(source, dataset=_chosen(settings), columns=columns, image_size=image_size)
    return contents or read_folder(source), settings.key


def digests_of(settings: DataSettings) -> dict[str, str]:
    """Return the digest of each file that is read from a folder or file, by its name.

    Raises:
        DataError: the source or one of its files is missing.
        OSError: one cannot be read.
    """
    source = Path(settings.key)
    if not source.exists():
        raise DataError(f"source: must be a file or folder that exists; {source} does not. See docs/data.md.")
    found = formats.recognise(source, _chosen(settings))
    files = [file for paths in (found.files if found else _find(source)).values() for file in paths]
    return {str(file.relative_to(source.parent)): disk.file_digest(file) for file in files}


def _chosen(settings: DataSettings) -> str | None:
    """Return the name of the data set if it was given, else None."""
    return None if settings.dataset == DataSettings.dataset else settings.dataset


def make_digits() -> Files:
    """Return scikit-learn's handwritten digits as the four files: 8 × 8 pixels, scaled from 0–16 to 0–255.

    The 1,797 images are the test part of the UCI set "Optical Recognition of
    Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998).
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


def read_folder(folder: Path) -> Files:
    """Return the four files (by stem) in ``folder``.

    Raises:
        DataError: a file is missing, cannot be read or is not a whole IDX file; or it exists both as .gz and plain,
            with different contents.
    """
    files = {}
    for stem, paths in _find(folder).items():
        files[stem], *others = (RawFile.of(path.read_bytes(), stem=stem, name=str(path)) for path in paths)
        if any(other.content != files[stem].content for other in others):
            raise DataError(
                f"source: {' and '.join(map(str, paths))} must have equal content, but they differ. Remove one of them."
            )
    return files


def _find(folder: Path) -> dict[str, list[Path]]:
    """Return the paths of each of the four files (by stem) in a folder: .gz, plain, or both.

    Archives may use other names, such as ``train-images.idx3-ubyte``, or capitals.
    """
    found: dict[str, list[Path]] = {stem: [] for stem in STEMS}
    paths = sorted(folder.iterdir())
    for path in paths:
        stem = path.name.lower().removesuffix(".gz").replace(".idx", "-idx")
        if stem in found and path.is_file():
            found[stem].append(path)
    if not all(found.values()):
        names = listed(f"{path.name}/" if path.is_dir() else path.name for path in paths)
        raise DataError(
            f"source: must be a folder with the four files {', '.join(STEMS)}, each plain or as .gz; {folder} has "
            f"{names}. Rename the files, or use {formats.WANTED}."
        )
    return found


# --- this package, mirrors, or another address ----------------------------------------------------------------------


def fetch(name: str, reporter: Reporter) -> tuple[Files, str]:
    """Return the four files of a published data set from the first place that has them all, and the place's name.

    Raises:
        DataError: no place has them; the message contains the reasons.
    """
    published, failures = CATALOGUE[name], []
    digest_of = dict(zip(STEMS, published.digests, strict=True))
    places: list[Path | str] = [*filter(None, [published.folder]), *published.mirrors]
    for place in places:
        try:
            files = {stem: _get(place, stem, f"{stem}.gz", reporter, digest) for stem, digest in digest_of.items()}
        except (DataError, OSError) as error:
            failures.append(str(error))
            reporter.note(f"A source failed: {error}")
        else:
            # The path of the package on this machine would be stored and logged, so it is not used as the name.
            return files, "the pipeline package" if place == published.folder else str(place)
    raise DataError(
        f"dataset: {name} cannot be downloaded: all of its mirrors failed. {' '.join(failures)} "
        f"Try again later; `{option('source', 'FOLDER-OR-URL')}` takes the four IDX files from elsewhere, and "
        f"`{option('dataset', 'digits')}` needs no network."
    )


def fetch_address(base: str, reporter: Reporter) -> Files:
    """Return the four files below the address ``base``, as ``<stem>.gz`` or, if that does not exist, ``<stem>``.

    Raises:
        DataError: one of them cannot be fetched under either name, or does not have the expected content.
    """
    files, failures = Files(), []
    for stem in STEMS:
        for name in (f"{stem}.gz", stem):
            try:
                files[stem] = _get(base, stem, name, reporter)
                break
            except DataError as error:
                failures.append(str(error))
        else:
            raise DataError(
                f"source: {shown(base)} must have {stem}, plain or as .gz; it has neither. {' '.join(failures[-2:])}"
            )
    return files


def _get(place: Path | str, stem: str, name: str, reporter: Reporter, digest: str | None = None) -> RawFile:
    """Return the file ``stem`` with the name ``name`` in a folder, or at an address with credentials."""
    if isinstance(place, Path):
        content, source = (place / name).read_bytes(), str(place / name)
    else:
        parts = urlsplit(place)
        address = parts._replace(path=f"{parts.path.rstrip('/')}/{name}", fragment="").geturl()
        content, source = fetch_file(address, reporter), shown(address)
    file = RawFile.of(content, stem=stem, name=source)
    if digest and digest not in file.digests:
        raise DataError(f"{source}: must have the digest {digest}; got {' and '.join(file.digests)}.")
    return file


def fetch_file(address: str, reporter: Reporter) -> bytes:
    """Return the file at an address; retry after temporary failures, and show no credentials.

    Raises:
        DataError: the file cannot be fetched; the message ends with a short reason.
    """
    import requests

    for pause in (*PAUSES, None):
        try:
            with requests.get(address, stream=True, timeout=TIMEOUT) as response:
                response.raise_for_status()
                content, total = bytearray(), int(response.headers.get("Content-Length", 0)) or None
                for part in response.iter_content(2**16):
                    content += part
                    reporter.transfer(urlsplit(address).path.rpartition("/")[2], len(content), total)
                return bytes(content)
        except requests.RequestException as error:
            status = error.response.status_code if isinstance(error, requests.HTTPError) else None
            refused = status is not None and status < 500 and status not in {408, 429}  # noqa: PLR2004
            if refused or isinstance(error, requests.Timeout) or pause is None:
                raise DataError(f"{shown(address)}: {f'HTTP {status}' if status else _cause(error)}.") from None
            time.sleep(pause)
    raise AssertionError


def _cause(error: BaseException) -> str:
    """Return the operating system's reason why a connection failed: urllib3's text is long and shows the address."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return reason(error) if isinstance(error, OSError) else str(error)
