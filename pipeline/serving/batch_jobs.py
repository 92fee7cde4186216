"""Answer many files as jobs of an executor, with one output file each; skip finished files.

Files are on the local disk or in an S3 store: an address is a path or ``s3://BUCKET/KEY``. Arrow finds the credentials
and the address of a store as Amazon's own programs do: ``AWS_…``, ``~/.aws``, the role of the machine.

The metadata of a file of answers states its input, model and options, so existing answers are recognised. The model is
fetched once, where the command was typed, and handed to all jobs: they need no tracking server, and all answers come
from one model even if its alias moves in the meantime.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from pyarrow import fs

from pipeline import disk
from pipeline.errors import DataError, UsageError, first_line, reason
from pipeline.execution.worker_pool import Executor, Failed, FileRef, Finished, Rescheduled, Send
from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences
from pipeline.progress import Reporter
from pipeline.serving import answers
from pipeline.serving.answers import ABOUT, Reader, printable
from pipeline.serving.image_files import IDX_ENDINGS, ImageFiles
from pipeline.serving.sequence_files import SequenceFiles
from pipeline.settings import expanded
from pipeline.startup import quieten
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

READERS: Mapping[type[Kind], Any] = {Images: ImageFiles, Sequences: SequenceFiles}
"""The class that reads the files of each kind; a new kind is a line here."""

SCHEME = "s3://"

LITTER = ("__MACOSX", "._")
"""Prefixes of the names of folders and files that macOS adds to archives."""


def reader(kind: Kind, *, column: str | None, columns: str | None) -> Reader:
    """Return the reader of files for a model.

    Args:
        kind: the kind of the model's examples.
        column: the column of a Parquet file of images that holds the pixels; None: found by its type.
        columns: names of a step table's columns that are not features.

    Raises:
        UsageError: an option is not for this kind.
    """
    made: Reader = READERS[type(kind)](kind, column, columns)
    return made


def is_remote(address: str) -> bool:
    """Return whether an address is in a store that all machines reach."""
    return address.startswith(SCHEME)


def is_folder(address: str) -> bool:
    """Return whether there is a folder at an address of the local disk."""
    return not is_remote(address) and os.path.isdir(expanded(Path(address)))  # noqa: PTH112 - no error for a long name


def located(address: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address, and the path in it."""
    if not is_remote(address):
        return fs.LocalFileSystem(), str(expanded(Path(address)).absolute())
    path = address.removeprefix(SCHEME).rstrip("/")
    return fs.FileSystem.from_uri(SCHEME + path.partition("/")[0])[0], path


def listed(addresses: Sequence[str], reader: Reader) -> list[str]:
    """Return the files at addresses; for a folder, all files in and below it that a reader can read.

    Labels of IDX files and files of answers are left out.

    Raises:
        DataError: a folder contains no such file or cannot be listed, or a store does not answer.
    """
    found = []
    for address in addresses:
        with _explained(address):
            files = _below(address)
        files = [address] if files is None else [each for each in sorted(files) if _is_input(each, reader.endings)]
        if not files:
            raise DataError(f"{printable(address)}: must contain {reader.wanted}; this folder contains none.")
        found += files
    return found


def _below(address: str) -> list[str] | None:
    """Return the files in and below a folder; None if the address is not a folder."""
    if is_folder(address):
        walk = os.walk(expanded(Path(address)), onerror=_raise)
        return [os.path.join(folder, name) for folder, _, names in walk for name in names]  # noqa: PTH118 - any bytes
    if not is_remote(address):
        return None
    system, path = located(address)
    if system.get_file_info(path).type != fs.FileType.Directory:
        return None
    return [SCHEME + file.path for file in system.get_file_info(fs.FileSelector(path, recursive=True)) if file.is_file]


def _raise(error: OSError) -> None:
    raise error


def _is_input(address: str, endings: Sequence[str]) -> bool:
    file = PurePath(address)
    if any(part.startswith(LITTER) for part in file.parts) or not file.name.lower().endswith(tuple(endings)):
        return False
    if is_remote(address) or file.suffix != ".parquet":
        return not ("labels" in file.name.lower() and file.name.lower().endswith(IDX_ENDINGS))
    return ABOUT.encode() not in (_about(address) or {})


def _about(address: str) -> dict[bytes, bytes] | None:
    """Return the metadata of a Parquet file; empty for another file; None if there is no file."""
    try:
        system, path = located(address)
        return dict(pa.parquet.read_metadata(path, filesystem=system).metadata or {})
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException):
        return {}


def _etag(address: str) -> str:
    """Return the size of a file and the time of its last change, which identify its version.

    Raises:
        DataError: it cannot be read.
    """
    with _explained(address):
        system, path = located(address)
        file = system.get_file_info(path)
    if not file.is_file:
        raise DataError(f"{printable(address)}: there is no such file.")
    return f"{file.size} bytes of {file.mtime_ns}"


@contextmanager
def _fetched(address: str) -> Iterator[Path]:
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


def _put(content: bytes, address: str) -> None:
    """Write a file, whole or not at all; it replaces an existing one.

    Raises:
        UsageError: it cannot be written there.
    """
    with _explained(address, writing=True):
        system, path = located(address)
        if is_remote(address):
            with system.open_output_stream(path) as stream:
                stream.write(content)  # in one call: a store keeps what was written when a stream is closed
        else:
            with disk.new_file(Path(path)) as file:
                file.write_bytes(content)


def made(folder: str) -> str:
    """Create a folder for answers if there is none; return its address.

    Raises:
        UsageError: it cannot be created.
    """
    if is_remote(folder):
        return folder.rstrip("/")
    path = located(folder)[1]
    with _explained(folder, writing=True):
        Path(path).mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _explained(address: str, *, writing: bool = False) -> Iterator[None]:
    """Turn an error of a disk or a store into one that names the address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = printable(reason(error) if isinstance(error, OSError) and error.errno else first_line(error))
        if writing:
            raise UsageError(f"output: cannot write to {printable(address)}: {said.rstrip('.')}.") from None
        raise DataError(f"{printable(address)}: cannot be read: {said.rstrip('.')}.") from None


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """A file to be answered.

    Attributes:
        address: address of the file.
        output: address of its answers.
        about: metadata of the answers.
        file: the file, if it is on the disk where the command was typed; None: it is in a store.
    """

    address: str
    output: str
    about: str
    file: FileRef | None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Answers files; handed to an executor.

    Attributes:
        model: files of the model.
        digest: digest of these files.
        trust: run the model's code even if it is not from this pipeline.
        column: an argument of :func:`reader`.
        columns: an argument of :func:`reader`.
        by_step: answer after each step.
        cores: number of cores that a job may use.
    """

    model: FileRef
    digest: str
    trust: bool = False
    column: str | None = None
    columns: str | None = None
    by_step: bool = False
    cores: int = 1

    def __call__(self, job: FileJob, send: Send) -> tuple[int, bytes | None]:
        """Answer all examples of a file; return their number, and the answers if they cannot be written from here.

        Raises:
            DataError: the file cannot be read.
        """
        quieten()
        classifier, by_step = _loaded(self), self.by_step
        read = reader(classifier.kind, column=self.column, columns=self.columns)
        with job.file.open() if job.file else _fetched(job.address) as path, TemporaryDirectory() as folder:
            files, output = [(answers.name(job.address), path)], Path(folder) / "answers.parquet"
            columns = answers.schema(files, read, classifier.class_names, by_step=by_step)
            with answers.written(output, columns, job.about) as write:
                count, unread = answers.answer(files, read, classifier, write, by_step=by_step, cores=self.cores)
            if unread:
                raise DataError(unread[0])
            content = output.read_bytes()
        if self.model.is_remote and not is_remote(job.output):
            return count, content
        _put(content, job.output)
        return count, None


_model: dict[str, Classifier] = {}  # the model of this process, by its digest


def _loaded(work: Answering) -> Classifier:
    """Return the model, loaded once in a process."""
    if work.digest not in _model:
        _model.clear()
        with work.model.open() as files:
            _model[work.digest] = classifiers.load(str(files), trust=work.trust)
    return _model[work.digest]


@dataclass
class Outcome:
    """The result of answering many files.

    Attributes:
        answered: number of answers that were written.
        files: number of files that were answered.
        found: number of files whose answers existed.
        failures: the reason why each file failed, by address.
    """

    answered: int = 0
    files: int = 0
    found: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def answer_all(
    files: Sequence[str], folder: str, work: Answering, reporter: Reporter, *, executor: Executor, count: int
) -> Outcome:
    """Answer all files whose answers are not in a folder yet, ``count`` at a time; failures do not affect the others.

    Raises:
        UsageError: two files would have the same file of answers.
    """
    outcome = Outcome()
    jobs = _missing(_outputs(files, folder), work, executor, outcome)
    with closing(executor.run(work, jobs, count=count)) as events:
        for event in events:
            if isinstance(event, Finished):
                answered, content = event.result
                if content is not None:
                    _put(content, event.job.output)
                outcome.answered += answered
                outcome.files += 1
                reporter.note(f"{printable(event.job.output)}: {answered:,} answers.")
            elif isinstance(event, Failed):
                outcome.failures[event.job.address] = event.reason
            elif isinstance(event, Rescheduled):
                reporter.note(f"{printable(event.job.address)} starts again on another node: its node was lost.")
    return outcome


def _outputs(files: Sequence[str], folder: str) -> dict[str, str]:
    """Return the input for each output address, which is the input's name in the folder with .parquet at the end."""
    inputs: dict[str, str] = {}
    for file in files:
        output = f"{folder}/{PurePath(file).name.removesuffix('.parquet')}.parquet"
        if inputs.setdefault(output, file) != file:
            raise UsageError(
                "paths: must be files with different names, because their answers go into one folder; got "
                f"{printable(inputs[output])} and {printable(file)}. Give each its own --output."
            )
    return inputs


def _missing(inputs: dict[str, str], work: Answering, executor: Executor, outcome: Outcome) -> Iterator[FileJob]:
    """Yield the files without answers to this input by this model with these options."""
    asked = {"model": work.digest, "column": work.column, "columns": work.columns, "by_step": work.by_step}
    for output, address in inputs.items():
        try:
            about = json.dumps({"input": _etag(address)} | asked, sort_keys=True)
            there = _about(output)
            if there is not None and ABOUT.encode() not in there:
                raise DataError(
                    f"{printable(output)}: this file does not contain answers, so it is not replaced. Move it, or "
                    "choose another folder."
                )
        except DataError as error:
            outcome.failures[address] = str(error)
            continue
        if there and there[ABOUT.encode()].decode() == about:
            outcome.found += 1
        else:
            file = None if is_remote(address) else executor.file_ref(Path(address))
            yield FileJob(address=address, output=output, about=about, file=file)
