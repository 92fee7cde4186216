"""Where the files of parts lie, on this disk or in an S3 store: listed, told apart, fetched, and put there whole.

An address is a path, or ``s3://BUCKET/KEY``. A store is asked with the keys that
its usual programs find here (``AWS_…``, ``~/.aws``, the role of the machine), at
the address in :data:`ENDPOINTS` if one is set, else at Amazon's.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyarrow import fs

from pipeline import digests, disk
from pipeline.errors import DataError, UsageError, first_line, reason
from pipeline.execution.scheduler import LOCAL
from pipeline.serving import answers, batches, parquet_images
from pipeline.settings import expanded

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
"""The environment variables with the address of an S3 store that is not Amazon's; the first that is set."""

PARTS = (parquet_images.ENDING, *batches.IDX_ENDINGS)
"""Endings of what a folder of a store is looked through for."""


def is_remote(address: str) -> bool:
    """Return whether an address is in a store that all machines reach."""
    return address.startswith(SCHEME)


def is_folder(output: str) -> bool:
    """Return whether an output is a folder: one that is there, or a name that ends in / or has no ending."""
    is_there = not is_remote(output) and expanded(Path(output)).is_dir()
    return is_there or output.endswith("/") or not PurePath(output).suffix


def check_here(addresses: Sequence[str], output: str | None, on: str) -> None:
    """Check that what is asked can be done by this process alone, which answers into one file or prints.

    Raises:
        UsageError: it is asked for elsewhere, or with files of a store.
    """
    remote = [f"with {address}" for address in (*addresses, output or "") if is_remote(address)]
    if on != LOCAL or remote:
        asked = answers.printable(remote[0] if remote else f"on {on}")
        raise UsageError(f"output: expected, {asked}, a folder such as answers/, received {output or 'none'}.")


def name(address: str) -> str:
    """Return the name of a file, without its folder."""
    return PurePath(address).name


def listed(addresses: Sequence[str]) -> list[str]:
    """Return the files that addresses name: of a folder those in and below it.

    Raises:
        DataError: a folder holds none, or a store does not answer.
    """
    return [file for address in addresses for file in _listed(address)]


def _listed(address: str) -> list[str]:
    if not is_remote(address):
        return [str(file) for file in batches.files([Path(address)])]
    with _explained(address):
        store, path = _store(address)
        if store.get_file_info(path).type != fs.FileType.Directory:
            return [address]
        inside = store.get_file_info(fs.FileSelector(path, recursive=True))
    found = sorted(SCHEME + file.path for file in inside if file.is_file and file.path.lower().endswith(PARTS))
    if not found:
        raise DataError(f"{address}: expected a folder with Parquet or IDX files, received one that holds none.")
    return found


def mark(address: str) -> str:
    """Return what tells a file from what was or will be at its address: its digest; of a store its size and time.

    Raises:
        DataError: it cannot be read.
    """
    if not is_remote(address):
        with _explained(address):
            return f"sha256 {digests.of_file(Path(address))}"
    with _explained(address):
        store, path = _store(address)
        file = store.get_file_info(path)
    if not file.is_file:
        raise DataError(f"{address}: expected a file, found none.")
    return f"{file.size} bytes of {file.mtime.isoformat()}"


def about(address: str) -> dict[bytes, bytes] | None:
    """Return what a Parquet file says of itself; nothing if it is none; None if there is no file.

    Raises:
        DataError: a store does not answer.
    """
    if not is_remote(address):
        return parquet_images.metadata(Path(address)) if Path(address).exists() else None
    with _explained(address):
        store, path = _store(address)
        if not store.get_file_info(path).is_file:
            return None
        with store.open_input_file(path) as file:
            return parquet_images.metadata(file)


@contextmanager
def fetched(address: str) -> Iterator[Path]:
    """Give a file of a store as a file of its name on this machine.

    Raises:
        DataError: it cannot be read.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / name(address)
        with _explained(address):
            store, path = _store(address)
            fs.copy_files(path, str(copy), source_filesystem=store, destination_filesystem=fs.LocalFileSystem())
        yield copy


def put(file: Path, address: str) -> None:
    """Put a file to an address, whole or not at all; what was there is replaced.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        if not is_remote(address):
            with disk.new_file(Path(address)) as incoming:
                shutil.copyfile(file, incoming)
            return
        store, path = _store(address)
        with pa.memory_map(str(file)) as content, store.open_output_stream(path) as stream:
            stream.write(content.read_buffer())  # in one call, that nothing ends halfway and then is closed as if whole
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"output: expected a folder that can be written to, received {answers.printable(address)}: {_said(error)}."
        ) from None


def prepare(folder: str) -> str:
    """Make sure that a folder for answers is there; return its address.

    Raises:
        UsageError: it cannot be made.
    """
    if is_remote(folder):
        return folder.rstrip("/")
    path = expanded(Path(folder))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output: expected a folder that can be written to, received {answers.printable(path)}: {_said(error)}."
        ) from None
    return str(path.absolute())


def _store(address: str) -> tuple[fs.FileSystem, str]:
    """Return the store of an address, and the path in it."""
    path = address.removeprefix(SCHEME).rstrip("/")
    endpoint = next((os.environ[each] for each in ENDPOINTS if os.environ.get(each)), None)
    if endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint), path
    return fs.FileSystem.from_uri(SCHEME + path.partition("/")[0])[0], path


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what a disk or a store says into an error that names the address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{answers.printable(address)}: expected a file that can be read, received: {_said(error)}."
        ) from None


def _said(error: Exception) -> str:
    said = reason(error) if isinstance(error, OSError) and error.errno else first_line(error)
    return answers.printable(said).rstrip(".")
