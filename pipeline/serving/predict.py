"""Classify files: the answers to all of them in one table, or a folder with a file of answers for each.

Files are on the local disk or in an S3 store: an address is a path or ``s3://BUCKET/KEY``. Arrow finds the credentials
and the address of a store as Amazon's own programs do: ``AWS_…``, ``~/.aws``, the role of the machine.

A folder is filled by the jobs of an executor. The metadata of a file of answers states its input, model and options, so
existing answers are recognised. The model is fetched once, where the command was typed, and handed to all jobs: they
need no tracking server, and all answers come from one model even if its alias moves in the meantime.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pyarrow import fs, parquet

from pipeline import disk
from pipeline.errors import DataError, UsageError
from pipeline.execution.executors import LOCAL, Event, Executor, FileRef, Send, open_executor
from pipeline.kinds.kind import Kind
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.serving import answers
from pipeline.serving.answers import ABOUT, UNREADABLE, explained, printable
from pipeline.serving.readers import IDX_ENDINGS, READERS, Reader
from pipeline.settings import expanded
from pipeline.startup import quieten
from pipeline.tracking import models

SCHEME = "s3://"

LITTER = ("__MACOSX", "._", disk.UNFINISHED)
"""Prefixes of the names of what macOS adds to archives, and of what killed processes leave."""


def predict(
    reporter: Reporter,
    *,
    paths: Sequence[str],
    model: str,
    output: str | None,
    as_json: bool,
    by_step: bool,
    column: str | None,
    columns: str | None,
    on: str,
    trust: bool,
) -> None:
    """Answer all examples at ``paths``; the arguments are the options of the command.

    Raises:
        DataError: a folder contains no files to read, or files could not be read; the others are answered.
        UsageError: the output is not possible, or the model is not from this pipeline.
    """
    options = {"column": column, "columns": columns, "by_step": by_step}
    is_folder = output and (output.endswith("/") or not PurePath(output).suffix or expanded(Path(output)).is_dir())
    if output and is_folder and not as_json:
        total, failed = _into_folder(paths, model, output, reporter, on=on, trust=trust, options=options)
    else:
        _check(paths, output, on, as_json=as_json, by_step=by_step)
        classifier = models.load(model, trust=trust)
        total, failed = _as_table(paths, classifier, output, reporter, as_json=as_json, options=options)
    if failed:
        said = {printable(address): printable(why) for address, why in failed.items()}
        reasons = " ".join(why if address in why else f"{address}: {why}" for address, why in said.items())
        raise DataError(f"{len(failed):,} of {total:,} files could not be answered. {reasons}")


def _check(paths: Sequence[str], output: str | None, on: str, *, as_json: bool, by_step: bool) -> None:
    """Check that the answers can be printed, or written to one file, before any work."""
    if on != LOCAL or any(map(_is_remote, (*paths, output or ""))):
        raise UsageError(f"output: must be a folder such as answers/ with --on or {SCHEME}; got {output or 'none'}.")
    if by_step and output is None:
        raise UsageError("by_step: needs an --output file, .csv or .parquet.")
    if as_json and output:
        raise UsageError("json, output: only one of the two can be given; got both. Leave one of them out.")
    if output and PurePath(output).suffix not in answers.WRITERS:
        raise UsageError(f"output: must be a folder, or a file name that ends in .csv or .parquet; got {output}.")


def _reader(kind: Kind, options: Mapping[str, Any]) -> Reader:
    """Return the reader of files for a model of a kind; raise a UsageError if an option is not for this kind."""
    return READERS[type(kind)](kind, options["column"], options["columns"])


def _as_table(
    paths: Sequence[str],
    classifier: models.Classifier,
    output: str | None,
    reporter: Reporter,
    *,
    as_json: bool,
    options: Mapping[str, Any],
) -> tuple[int, dict[str, str]]:
    """Answer all files in one table, printed or written; return their number, and the errors."""
    read, failed = _reader(classifier.kind, options), dict[str, str]()
    files = [(file, expanded(Path(file))) for file in listed(paths, read)]
    tables = answers.answer(files, read, classifier, failed, by_step=options["by_step"], cores=usable_cores())
    if as_json:
        reporter.result(answers.as_json(tables))
    elif output:
        count = answers.write(tables, expanded(Path(output)), failed)
        reporter.result(f"Wrote {count:,} answers to {output}.")
    else:
        for table in filter(len, tables):
            reporter.result(answers.lines(table))
    return len(files), failed


# --- a file of answers for each file --------------------------------------------------------------------------------


class FileJob(NamedTuple):
    """A file to be answered: the addresses of the file and of its answers, and the metadata of the answers.

    ``file`` is the file itself, if it is on the disk where the command was typed; None: it is in a store.
    """

    address: str
    output: str
    about: str
    file: FileRef | None


def _into_folder(
    paths: Sequence[str],
    model: str,
    output: str,
    reporter: Reporter,
    *,
    on: str,
    trust: bool,
    options: Mapping[str, Any],
) -> tuple[int, dict[str, str]]:
    """Write a file of answers for each file, unless it exists; return the number of files, and the errors."""
    failed, answered = dict[str, str](), list[int]()

    def take(event: Event) -> None:
        match event:
            case Event("finished", job, (count, content)):
                _put(content, job.output)
                answered.append(count)
                reporter.note(f"{printable(job.output)}: {count:,} answers.")
            case Event("failed", job, reason):
                failed[job.address] = reason

    with (
        open_executor(on, tracks=False) as executor,
        models.fetched(model, trust=trust) as (fetched, described),
    ):
        files = listed(paths, _reader(described["kind"], options))
        workers, inputs = executor.default_workers(len(files)), _outputs(files, output)
        jobs = _missing(inputs, {"model": disk.file_digest(fetched / "MLmodel"), **options}, executor, failed)
        work = partial(
            answer_file, model=executor.file_ref(fetched), trust=trust, cores=executor.cores(workers), options=options
        )
        executor.run(work, jobs, count=workers, take=take)
    existing = len(inputs) - len(answered) - len(failed)
    found = f" {existing:,} existed." if existing else ""
    reporter.result(f"Wrote {sum(answered):,} answers to {len(answered):,} files in {printable(output)}.{found}")
    return len(files), failed


def _outputs(files: Sequence[str], folder: str) -> dict[str, str]:
    """Return the input for each output address, which is the input's name in the folder with .parquet at the end."""
    inputs: dict[str, str] = {}
    for file in files:
        output = f"{folder.rstrip('/')}/{PurePath(file).name.removesuffix('.parquet')}.parquet"
        if inputs.setdefault(output, file) != file:
            raise UsageError(
                "paths: must be files with different names, because their answers go into one folder; got "
                f"{printable(inputs[output])} and {printable(file)}. Give each its own --output."
            )
    return inputs


def _missing(
    inputs: Mapping[str, str], asked: Mapping[str, Any], executor: Executor, failed: dict[str, str]
) -> Iterator[FileJob]:
    """Yield the files without answers to this input by this model with these options.

    Raises:
        DataError: a store does not answer.
    """
    for output, address in inputs.items():
        with explained(address):
            system, path = located(address)
            file = system.get_file_info(path)
        about = json.dumps({"input": f"{file.size} bytes of {file.mtime_ns}", **asked}, sort_keys=True)
        existing = _about(output)
        if not file.is_file:
            failed[address] = "there is no such file."
        elif existing == "":
            failed[address] = (
                f"{output}: this file does not contain answers, so it is not replaced. Move it, or choose another "
                "folder."
            )
        elif existing != about:
            local = None if _is_remote(address) else executor.file_ref(Path(path))
            yield FileJob(address, output, about, local)


def answer_file(
    job: FileJob, send: Send, *, model: FileRef, trust: bool, cores: int, options: Mapping[str, Any]
) -> tuple[int, bytes]:
    """Answer all examples of a file; return their number, and the file of answers.

    Raises:
        DataError: the file cannot be read.
    """
    quieten()
    classifier, failed = _loaded(model, trust=trust), dict[str, str]()
    with (
        TemporaryDirectory() as folder,
        job.file.open() if job.file else nullcontext(_fetched(job.address, folder)) as path,
    ):
        output, files = Path(folder, "answers.parquet"), [(job.address, path)]
        tables = answers.answer(
            files, _reader(classifier.kind, options), classifier, failed, by_step=options["by_step"], cores=cores
        )
        count = answers.write(tables, output, failed, job.about)
        if failed:
            raise DataError(failed[job.address])
        return count, output.read_bytes()


@lru_cache(maxsize=1)
def _loaded(model: FileRef, *, trust: bool) -> models.Classifier:
    """Return the model, loaded once in a process."""
    with model.open() as files:
        return models.load(str(files), trust=trust)


# --- files and folders ----------------------------------------------------------------------------------------------


def _is_remote(address: str) -> bool:
    """Return whether an address is in a store that all machines reach."""
    return address.startswith(SCHEME)


def located(address: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address, and the path in it."""
    if not _is_remote(address):
        return fs.LocalFileSystem(), str(expanded(Path(address)))
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
        scheme, files = SCHEME if _is_remote(address) else "", [address]
        with explained(address):
            system, path = located(address)
            if system.get_file_info(path).type not in (fs.FileType.File, fs.FileType.NotFound):
                inside = system.get_file_info(fs.FileSelector(path, recursive=True))
                below = sorted(f"{scheme}{each.path}" for each in inside if each.is_file)
                files = [each for each in below if _is_input(each, reader.endings)]
        if not files:
            raise DataError(f"{printable(address)}: must contain {reader.wanted}; this folder contains none.")
        found += files
    return found


def _is_input(address: str, endings: tuple[str, ...]) -> bool:
    file, name = PurePath(address), PurePath(address).name.lower()
    is_litter = any(part.startswith(LITTER) for part in file.parts)
    has_labels = "labels" in name and name.endswith(IDX_ENDINGS)
    has_answers = file.suffix == ".parquet" and not _is_remote(address) and _about(address)
    return name.endswith(endings) and not (is_litter or has_labels or has_answers)


def _about(address: str) -> str | None:
    """Return the metadata of a file of answers; an empty text for any other file; None if there is no file."""
    try:
        system, path = located(address)
        found = parquet.read_metadata(path, filesystem=system).metadata or {}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UNREADABLE:
        return ""
    return str(found.get(ABOUT.encode(), b"").decode())


def _fetched(address: str, folder: str) -> Path:
    """Return a copy of a file of a store in a local folder.

    Raises:
        DataError: it cannot be read.
    """
    copy = Path(folder, f"copy of {PurePath(address).name}")
    with explained(address):
        system, path = located(address)
        fs.copy_files(path, str(copy), source_filesystem=system, destination_filesystem=fs.LocalFileSystem())
    return copy


def _put(content: bytes, address: str) -> None:
    """Write a file, whole or not at all; it replaces an existing one.

    Raises:
        UsageError: it cannot be written there.
    """
    with explained(address, writing=True):
        system, path = located(address)
        if _is_remote(address):
            with system.open_output_stream(path) as stream:
                stream.write(content)  # in one call: a store keeps what was written when a stream is closed
        else:
            disk.write(Path(path), content)
