"""Many files to a folder of answers, one file each, as jobs of an executor; repeated, it does what is missing.

The metadata of a file of answers states its input, model and options, so answers that are already there are recognised
by themselves. The model is fetched once, where the command was typed, and handed to all jobs: they need no tracking
server, and all answers come from one model even if its alias moves meanwhile.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pyarrow as pa

from pipeline.errors import DataError, UsageError
from pipeline.execution.executors import Executor, FileRef
from pipeline.execution.worker_pool import Failed, Finished, Rescheduled, Send
from pipeline.progress import Reporter
from pipeline.serving import answers, batches, parquet_images, storage
from pipeline.serving.answers import ABOUT
from pipeline.serving.batches import Reading
from pipeline.startup import quieten
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier


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
        reading: how files are read, and what is asked.
        cores: that a job may use.
    """

    model: FileRef
    digest: str
    trust: bool
    reading: Reading
    cores: int

    def __call__(self, job: FileJob, send: Send) -> tuple[int, bytes | None]:
        """Answer all images of a file; return their number, and the answers' bytes if they cannot be put from here.

        Raises:
            DataError: the file cannot be read.
        """
        quieten()
        classifier = _loaded(self)
        source = job.file.open() if job.file else storage.fetched(job.address)
        with source as path, TemporaryDirectory() as folder:
            file = Path(folder) / f"answers{parquet_images.ENDING}"
            count = self._answer(job, path, classifier, file)
            with pa.memory_map(str(file)) as content:
                if self.model.is_remote and not storage.is_remote(job.output):
                    return count, content.read()
                storage.put(content.read_buffer(), job.output)
        return count, None

    def _answer(self, job: FileJob, path: Path, classifier: Classifier, file: Path) -> int:
        """Write the answers to the images at a path here into a file; return their number."""
        reading = replace(self.reading, name=lambda _: answers.name(job.address))
        with answers.written(file, reading.schema([path], classifier), job.about) as write:
            count, unread = batches.answer([path], classifier, write, reading, cores=self.cores)
        if unread:
            raise DataError(str(unread[0]).replace(answers.name(path), answers.name(job.address)))
        return count


_model: dict[str, Classifier] = {}  # the one of this process, by its digest: loaded once


def _loaded(work: Answering) -> Classifier:
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
    outputs, outcome = _outputs(files, folder), Outcome()
    jobs = _missing(outputs, work, executor, outcome)
    with closing(executor.run(work, jobs, count=count)) as events:
        for event in events:
            if isinstance(event, Finished):
                answered, content = event.result
                if content is not None:
                    storage.put(pa.py_buffer(content), event.job.output)
                outcome.answered += answered
                outcome.files += 1
                reporter.note(f"{answers.printable(event.job.output)}: {answered:,} answers.")
            elif isinstance(event, Failed):
                outcome.failures[event.job.address] = event.reason
            elif isinstance(event, Rescheduled):
                reporter.note(f"{answers.printable(event.job.address)} starts again elsewhere: its node was lost.")
    return outcome


def _outputs(files: Sequence[str], folder: str) -> dict[str, str]:
    """Return the address of the answers to each file: its name in the folder, with .parquet at the end."""
    outputs = {
        file: f"{folder}/{PurePath(file).name.removesuffix(parquet_images.ENDING)}{parquet_images.ENDING}"
        for file in files
    }
    files_of = {output: file for file, output in outputs.items()}
    for file, output in outputs.items():
        if files_of[output] != file:
            raise UsageError(
                f"paths: expected files of different names, as their answers go into one folder, received "
                f"{answers.printable(file)} and {answers.printable(files_of[output])}. Give each its own --output."
            )
    return outputs


def _missing(outputs: Mapping[str, str], work: Answering, executor: Executor, outcome: Outcome) -> Iterator[FileJob]:
    """Yield the files whose answers are not there, or are those of another input, model or option."""
    asked = {"model": work.digest, "column": work.reading.column, "by_step": work.reading.by_step}
    for address, output in outputs.items():
        try:
            about = json.dumps({"input": storage.etag(address)} | asked, sort_keys=True)
            there = storage.about(output)
            if there is not None and ABOUT.encode() not in there:
                raise DataError(
                    f"{answers.printable(output)}: expected answers or nothing there, received a file of something "
                    "else. Move it out of the way, or choose another folder."
                )
        except DataError as error:
            outcome.failures[address] = str(error)
            continue
        if there and there[ABOUT.encode()].decode() == about:
            outcome.found += 1
        else:
            file = None if storage.is_remote(address) else executor.file_ref(Path(address))
            yield FileJob(address=address, output=output, about=about, file=file)
