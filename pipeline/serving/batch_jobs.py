"""Answer many files as jobs of an executor, with one output file each; skip finished files.

Files are on the local disk or in an S3 store: an address is a path or ``s3://BUCKET/KEY``. A store is asked with the
credentials that its usual programs find here (``AWS_…``, ``~/.aws``, the role of the machine), at the address in
:data:`ENDPOINTS` if one is set, else at Amazon's.

The metadata of a file of answers states its input, model and options, so answers that are already there are recognised
by themselves. The model is fetched once, where the command was typed, and handed to all jobs: they need no tracking
server, and all answers come from one model even if its alias moves meanwhile.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet
from pyarrow import fs

from pipeline import disk
from pipeline.errors import DataError, UsageError, first_line, reason
from pipeline.execution.worker_pool import Executor, Failed, FileRef, Finished, Rescheduled, Send
from pipeline.progress import Reporter
from pipeline.serving import answers, known
from pipeline.serving.answers import ABOUT, Reader, printable
from pipeline.serving.image_files import IDX_ENDINGS
from pipeline.settings import expanded
from pipeline.startup import quieten
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

SCHEME = "s3://"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
"""The environment variables with the address of an S3 store that is not Amazon's; the first that is set."""

LITTER = ("__MACOSX", "._")
"""How the names of folders and files begin that archives from macOS add to their content."""


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
    endpoint = next((os.environ[each] for each in ENDPOINTS if os.environ.get(each)), None)
    if endpoint:
        return fs.S3FileSystem(endpoint_override=endpoint), path
    return fs.FileSystem.from_uri(SCHEME + path.partition("/")[0])[0], path


def listed(addresses: Sequence[str], reader: Reader) -> list[str]:
    """Return the files that addresses name; for a folder those in and below it that a reader takes.

    Labels of IDX files and files of answers are left out.

    Raises:
        DataError: a folder holds none or cannot be listed, or a store does not answer.
    """
    found = []
    for address in addresses:
        with _explained(address):
            files = _below(address)
        files = [address] if files is None else [each for each in sorted(files) if _is_input(each, reader.endings())]
        if not files:
            raise DataError(f"{printable(address)}: expected a folder with {reader.wanted}, received one without any.")
        found += files
    return found


def _below(address: str) -> list[str] | None:
    """Return the files in and below a folder; None for a file."""
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
    """Return the metadata of a Parquet file; nothing of another file; None if there is no file."""
    try:
        system, path = located(address)
        return dict(pa.parquet.read_metadata(path, filesystem=system).metadata or {})
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException):
        return {}


def _etag(address: str) -> str:
    """Return what tells this version of a file from others: its size and the time of its last change.

    Raises:
        DataError: it cannot be read.
    """
    with _explained(address):
        system, path = located(address)
        file = system.get_file_info(path)
    if not file.is_file:
        raise DataError(f"{printable(address)}: expected a file, found none.")
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


def _put(content: pa.Buffer | bytes, address: str) -> None:
    """Write a file, whole or not at all, in place of the one that is there.

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
    """Turn what a disk or a store raises into an error that names the address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = reason(error) if isinstance(error, OSError) and error.errno else first_line(error)
        received = f"{printable(address)}: {printable(said).rstrip('.')}."
        if writing:
            raise UsageError(f"output: expected a folder that can be written to, received {received}") from None
        raise DataError(f"Expected a file or folder that can be read, received {received}") from None


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """A file to be answered.

    Attributes:
        address: of the file.
        output: address of its answers.
        about: what the answers say of themselves.
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
        model: its files.
        digest: of these.
        trust: run its code even if it is not this pipeline's.
        column: of a Parquet file that holds the pixels; None: found by its type.
        columns: of a step table, the names of the columns that are no features.
        by_step: answer after each step.
        cores: that a job may use.
    """

    model: FileRef
    digest: str
    trust: bool = False
    column: str | None = None
    columns: str | None = None
    by_step: bool = False
    cores: int = 1

    def __call__(self, job: FileJob, send: Send) -> tuple[int, bytes | None]:
        """Answer all examples of a file; return their number, and the answers' bytes if they cannot be put from here.

        Raises:
            DataError: the file cannot be read.
        """
        quieten()
        classifier = _loaded(self)
        with job.file.open() if job.file else _fetched(job.address) as path, TemporaryDirectory() as folder:
            file = Path(folder) / "answers.parquet"
            count = self._answer([(answers.name(job.address), path)], classifier, file, job.about)
            with pa.memory_map(str(file)) as content:
                if self.model.is_remote and not is_remote(job.output):
                    return count, content.read()
                _put(content.read_buffer(), job.output)
        return count, None

    def _answer(self, files: Sequence[answers.Named], classifier: Classifier, output: Path, about: str) -> int:
        """Write the answers to a file here into another one; return their number."""
        reader, by_step = known.reader(classifier.kind, column=self.column, columns=self.columns), self.by_step
        columns = answers.schema(files, reader, classifier.class_names, by_step=by_step)
        with answers.written(output, columns, about) as write:
            count, unread = answers.answer(files, reader, classifier, write, by_step=by_step, cores=self.cores)
        if unread:
            raise unread[0]
        return count


_model: dict[str, Classifier] = {}  # the one of this process, by its digest: loaded once


def _loaded(work: Answering) -> Classifier:
    """Return the model, loaded once in a process; what executors hand over need not be hashable."""
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
        found: number of files whose answers were there.
        failures: the reason of each file that failed, by address.
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
                reporter.note(f"{printable(event.job.address)} starts again elsewhere: its node was lost.")
    return outcome


def _outputs(files: Sequence[str], folder: str) -> dict[str, str]:
    """Return the file that is answered into each address: its name in the folder, with .parquet at the end."""
    inputs: dict[str, str] = {}
    for file in files:
        output = f"{folder}/{PurePath(file).name.removesuffix('.parquet')}.parquet"
        if inputs.setdefault(output, file) != file:
            raise UsageError(
                f"paths: expected files of different names, as their answers go into one folder, received "
                f"{printable(inputs[output])} and {printable(file)}. Give each its own --output."
            )
    return inputs


def _missing(inputs: dict[str, str], work: Answering, executor: Executor, outcome: Outcome) -> Iterator[FileJob]:
    """Yield the files whose answers are not there, or are those of another input, model or option."""
    asked = {"model": work.digest, "column": work.column, "columns": work.columns, "by_step": work.by_step}
    for output, address in inputs.items():
        try:
            about = json.dumps({"input": _etag(address)} | asked, sort_keys=True)
            there = _about(output)
            if there is not None and ABOUT.encode() not in there:
                raise DataError(
                    f"{printable(output)}: expected answers or nothing there, received a file of something else. "
                    "Move it out of the way, or choose another folder."
                )
        except DataError as error:
            outcome.failures[address] = str(error)
            continue
        if there and there[ABOUT.encode()].decode() == about:
            outcome.found += 1
        else:
            file = None if is_remote(address) else executor.file_ref(Path(address))
            yield FileJob(address=address, output=output, about=about, file=file)
