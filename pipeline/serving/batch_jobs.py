"""Many files to a folder of answers, one file each, as jobs of an executor; repeated, what is missing is done.

A file of answers says in its metadata to which input and of which model it is:
so what is there is taken for what it is, whoever wrote it and when. Each is
whole or not there. The model is fetched once, by who typed the command, and
goes to all jobs: they need no tracking server, and all parts are of one model,
even if its alias moves in between.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from pipeline.errors import DataError, UsageError
from pipeline.execution.scheduler import Executor, Parcel
from pipeline.execution.worker_pool import Failed, Finished, Moved, Send
from pipeline.progress import Reporter
from pipeline.serving import answers, batches, parquet_images, storage
from pipeline.serving.batches import Reading
from pipeline.startup import quieten
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

ABOUT = next(iter(answers.OURS))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file to be answered; a job of an executor.

    Attributes:
        address: of the file.
        mark: that tells it from others, see :func:`places.mark`.
        output: address of its answers.
        about: what the answers say of themselves.
        file: the file, if it is on the disk of who typed the command; None: it is in a store.
    """

    address: str
    mark: str
    output: str
    about: str
    file: Parcel | None

    def opened(self) -> AbstractContextManager[Path]:
        """Give the file where the job runs."""
        return self.file.opened() if self.file else storage.fetched(self.address)


class Answered(NamedTuple):
    """What a job leaves: the number of images, and the file of their answers, if it could not put that itself."""

    images: int
    content: bytes | None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Answers a part; handed to an executor.

    Attributes:
        model: its files.
        digest: of these.
        trust: run its code whatever it is.
        reading: how files are read, and what is asked.
        cores: that a job may use.
    """

    model: Parcel
    digest: str
    trust: bool
    reading: Reading
    cores: int

    def __call__(self, part: Part, send: Send) -> Answered:
        """Answer all images of a part, and put the answers where they belong.

        Raises:
            DataError: it cannot be read, or changes while it is.
        """
        quieten()
        classifier = _loaded(self)
        with part.opened() as path, TemporaryDirectory() as folder:
            file = Path(folder) / f"answers{parquet_images.ENDING}"
            count = self._answer(part, path, classifier, file)
            if storage.mark(str(path) if part.file else part.address) != part.mark:
                raise DataError(f"{part.address}: expected a file that stays as it is, but it has changed. Repeat it.")
            if self.model.travels and not storage.is_remote(part.output):
                return Answered(count, file.read_bytes())
            storage.put(file, part.output)
            return Answered(count, None)

    def _answer(self, part: Part, path: Path, classifier: Classifier, file: Path) -> int:
        """Write the answers to a part, which is at a path here, into a file; return how many they are."""
        shown = answers.name(part.address)

        def refuse(error: DataError) -> None:
            raise DataError(str(error).replace(answers.name(path), shown))

        reading, count = replace(self.reading, name=lambda _: shown), 0
        with answers.written(file, reading.schema([path], classifier.class_names), {ABOUT: part.about}) as write:
            for table in batches.tables([path], classifier, self.cores, refuse, reading):
                write(table)
                count += table.num_rows
        return count


_model: dict[str, Classifier] = {}  # of this process, by its digest: loaded once


def _loaded(work: Answering) -> Classifier:
    if work.digest not in _model:
        _model.clear()
        with work.model.opened() as files:
            _model[work.digest] = classifiers.load(str(files), trust=work.trust)
    return _model[work.digest]


# --- beside them, who hands them out --------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of the parts.

    Attributes:
        answered: the number of answers that were written.
        files: of how many parts.
        found: parts whose answers were there.
        failures: the reason of each that failed, by address.
    """

    answered: int = 0
    files: int = 0
    found: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def answer_all(
    files: Sequence[str], folder: str, work: Answering, reporter: Reporter, *, executor: Executor, count: int
) -> Outcome:
    """Answer all files whose answers are not in a folder yet, ``count`` at a time; one that fails fails alone.

    Raises:
        UsageError: two files would have the same file of answers.
    """
    outputs, outcome = _outputs(files, folder), Outcome()
    jobs = _missing(outputs, work, executor, outcome)
    with closing(executor.run(work, jobs, count=count)) as events:
        for event in events:
            if isinstance(event, Finished):
                _keep(event.job, event.result, outcome)
                reporter.note(f"{answers.printable(event.job.output)}: {event.result.images:,} answers.")
            elif isinstance(event, Failed):
                outcome.failures[event.job.address] = event.reason
            elif isinstance(event, Moved):
                reporter.note(f"{answers.printable(event.job.address)} begins again elsewhere: its node was lost.")
    return outcome


def _keep(part: Part, answered: Answered, outcome: Outcome) -> None:
    """Put the answers where they belong, if they came here, and count them."""
    if answered.content is not None:
        with TemporaryDirectory() as folder:
            file = Path(folder) / storage.name(part.output)
            file.write_bytes(answered.content)
            storage.put(file, part.output)
    outcome.answered += answered.images
    outcome.files += 1


def _outputs(files: Sequence[str], folder: str) -> dict[str, str]:
    """Return where the answers to each file go: under its name; to what is no Parquet file, with another ending."""
    outputs: dict[str, str] = {}
    of: dict[str, str] = {}
    for file in dict.fromkeys(files):
        name = storage.name(file)
        output = outputs[file] = f"{folder}/{name}" + (
            "" if name.endswith(parquet_images.ENDING) else parquet_images.ENDING
        )
        if (other := of.setdefault(output, file)) != file:
            raise UsageError(
                f"paths: expected files of different names, as their answers go into one folder, received "
                f"{answers.printable(other)} and {answers.printable(file)}. Give each its own --output."
            )
    return outputs


def _missing(outputs: Mapping[str, str], work: Answering, executor: Executor, outcome: Outcome) -> Iterator[Part]:
    """Yield the parts whose answers are not there; those of another model or input are made anew."""
    for address, output in outputs.items():
        try:
            mark, there = storage.mark(address), storage.about(output)
            about = _about(mark, work)
            if there is not None and ABOUT.encode() not in there:
                raise DataError(
                    f"{answers.printable(output)}: expected answers or nothing there, received a file of something "
                    "else. Move it out of the way, or take another folder."
                )
        except DataError as error:
            outcome.failures[address] = str(error)
            continue
        if there and there[ABOUT.encode()].decode() == about:
            outcome.found += 1
        else:
            file = None if storage.is_remote(address) else executor.parcel(Path(address))
            yield Part(address=address, mark=mark, output=output, about=about, file=file)


def _about(mark: str, work: Answering) -> str:
    """Return what answers say of themselves: all that settles them."""
    asked = {"column": work.reading.column, "by_step": work.reading.by_step}
    return json.dumps({"input": mark, "model": work.digest} | asked, sort_keys=True)
