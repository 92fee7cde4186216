"""Files of many parts on the local disk or in an S3 store, through one interface: ``pyarrow.fs``.

An address is a path or ``s3://BUCKET/KEY``. A store is asked with the credentials that its usual programs find here
(``AWS_…``, ``~/.aws``, the role of the machine), at the address in :data:`ENDPOINTS` if one is set, else at Amazon's.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyarrow import fs

from pipeline import disk
from pipeline.errors import DataError, UsageError, first_line, reason
from pipeline.serving import answers, batches, parquet_images
from pipeline.settings import expanded

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
"""The environment variables with the address of an S3 store that is not Amazon's; the first that is set."""

PARTS = (parquet_images.ENDING, *batches.IDX_ENDINGS)
"""Endings of the files that are taken from a folder of a store."""


def is_remote(address: str) -> bool:
    """Return whether an address is in a store that all machines reach."""
    return address.startswith(SCHEME)


def is_folder(output: str) -> bool:
    """Return whether an output is a folder: it exists as one, or its name ends in / or has no ending."""
    exists = not is_remote(output) and os.path.isdir(expanded(Path(output)))  # noqa: PTH112 - no error for a long name
    return exists or output.endswith("/") or not PurePath(output).suffix


def listed(addresses: Sequence[str]) -> list[str]:
    """Return the files that addresses name; for a folder those in and below it.

    Raises:
        DataError: a folder holds none, or a store does not answer.
    """
    return [file for address in addresses for file in _listed(address)]


def _listed(address: str) -> list[str]:
    if not is_remote(address):
        return [str(file) for file in batches.files([Path(address)])]
    with _explained(address):
        system, path = located(address)
        if system.get_file_info(path).type != fs.FileType.Directory:
            return [address]
        inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    found = sorted(SCHEME + file.path for file in inside if file.is_file and file.path.lower().endswith(PARTS))
    if not found:
        raise DataError(f"{address}: expected a folder with Parquet or IDX files, received one without any.")
    return found


def etag(address: str) -> str:
    """Return what tells this version of a file from others: its size and the time of its last change.

    Raises:
        DataError: it cannot be read.
    """
    with _explained(address):
        system, path = located(address)
        file = system.get_file_info(path)
    if not file.is_file:
        raise DataError(f"{answers.printable(address)}: expected a file, found none.")
    return f"{file.size} bytes of {file.mtime_ns}"


def about(address: str) -> dict[bytes, bytes] | None:
    """Return the metadata of a Parquet file; nothing of another file; None if there is no file.

    Raises:
        DataError: it cannot be read.
    """
    with _explained(address):
        system, path = located(address)
        if not system.get_file_info(path).is_file:
            return None
        with system.open_input_file(path) as file:
            return parquet_images.metadata(file)


@contextmanager
def fetched(address: str) -> Iterator[Path]:
    """Yield a local copy of a file, under its name.

    Raises:
        DataError: it cannot be read.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / PurePath(address).name
        with _explained(address):
            system, path = located(address)
            fs.copy_files(path, str(copy), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())
        yield copy


def put(content: pa.Buffer, address: str) -> None:
    """Write a file, whole or not at all, in place of the one that is there.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        system, path = located(address)
        if is_remote(address):
            with system.open_output_stream(path) as stream:
                stream.write(content)  # in one call: a store keeps what was written when a stream is closed
        else:
            with disk.new_file(Path(path)) as file:
                file.write_bytes(content)
    except (OSError, pa.ArrowException) as error:
        raise _unwritable(address, error) from None


def prepare(folder: str) -> str:
    """Create a folder for answers if there is none; return its address.

    Raises:
        UsageError: it cannot be created.
    """
    if is_remote(folder):
        return folder.rstrip("/")
    path = located(folder)[1]
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return path


def located(address: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address, and the path in it."""
    if not is_remote(address):
        return fs.LocalFileSystem(), str(expanded(Path(address)).absolute())
    path = address.removeprefix(SCHEME).rstrip("/")
    endpoint = next((os.environ[each] for each in ENDPOINTS if os.environ.get(each)), None)
    if endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint), path
    return fs.FileSystem.from_uri(SCHEME + path.partition("/")[0])[0], path


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what a disk or a store raises into an error that names the address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{answers.printable(address)}: expected a file that can be read, received: {_said(error)}."
        ) from None


def _unwritable(address: str, error: Exception) -> UsageError:
    return UsageError(
        f"output: expected a folder that can be written to, received {answers.printable(address)}: {_said(error)}."
    )


def _said(error: Exception) -> str:
    said = reason(error) if isinstance(error, OSError) and error.errno else first_line(error)
    return answers.printable(said).rstrip(".")
