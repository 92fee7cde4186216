"""Classify images or sequences: label, probability and runner-up of each, printed or written to one file or many.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet
    pipeline predict parts/ --model models:/mnist-gru@champion --output answers/ --on ray

    pipeline predict gestures.parquet --model models:/gestures-gru@champion --output answers.csv

Takes files of what the model was trained on, and folders of them, in parts of bounded memory.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from pipeline.errors import DataError, UsageError
from pipeline.execution import executors
from pipeline.kinds.kind import Kind
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.serving import answers, batch_jobs, known
from pipeline.serving.answers import Reader, printable
from pipeline.serving.batch_jobs import Answering
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

Read = Callable[[Kind], Reader]
"""Returns what reads the files of a kind."""


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
    """Answer all examples at ``paths``; print the answers or write them, or a file of them for each input.

    The arguments are the options of the command.

    Raises:
        DataError: a folder holds none, or files could not be read: the others are answered.
        UsageError: the output is not possible, or the model is not this pipeline's.
    """
    read = partial(known.reader, column=column, columns=columns)
    if output and not as_json and (batch_jobs.is_folder(output) or output.endswith("/") or not PurePath(output).suffix):
        asked = {"trust": trust, "column": column, "columns": columns, "by_step": by_step}
        _into_folder(paths, model, output, read, reporter, on=on, asked=asked)
    else:
        _check(paths, output, on, as_json=as_json, by_step=by_step)
        _as_table(paths, classifiers.load(model, trust=trust), output, read, reporter, by_step=by_step, as_json=as_json)


def _as_table(
    paths: Sequence[str],
    classifier: Classifier,
    output: str | None,
    read: Read,
    reporter: Reporter,
    *,
    by_step: bool,
    as_json: bool,
) -> None:
    """Answer all files in one table, printed or written."""
    reader = read(classifier.kind)
    files = [(answers.name(file), Path(file)) for file in batch_jobs.listed(paths, reader)]
    columns = answers.schema(files, reader, classifier.class_names, by_step=by_step)
    with _writer(output, columns, reporter, as_json=as_json) as write:
        count, unread = answers.answer(files, reader, classifier, write, by_step=by_step, cores=usable_cores())
    if output:
        reporter.result(f"Wrote {count:,} answers to {output}.")
    _report(len(files), list(map(str, unread)))


def _check(paths: Sequence[str], output: str | None, on: str, *, as_json: bool, by_step: bool) -> None:
    """Check that the answers can be printed, or written to one file, before any work."""
    asked = [f"with {address}" for address in (*paths, output or "") if batch_jobs.is_remote(address)]
    asked += [f"on {on}"] * (on != executors.LOCAL)
    if asked:
        expected = f"expected, {printable(asked[0])}, a folder such as answers/"
        raise UsageError(f"output: {expected}, received {output or 'none'}.")
    if by_step and output is None:
        raise UsageError("by_step: expected an --output file, .csv or .parquet, received none.")
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")
    if output:
        answers.check_output(Path(output))


def _writer(
    output: str | None, columns: pa.Schema, reporter: Reporter, *, as_json: bool
) -> AbstractContextManager[answers.Write]:
    """Return a context that yields a function, which takes the answers in parts."""
    if as_json:
        return answers.as_json(reporter.result)
    if output is None:
        return nullcontext(lambda table: reporter.result(answers.lines(table)))
    return answers.written(Path(output), columns)


def _into_folder(
    paths: Sequence[str], model: str, output: str, read: Read, reporter: Reporter, *, on: str, asked: dict[str, Any]
) -> None:
    """Answer each file into a file of its name in a folder, unless that is there, here or on a cluster."""
    with (
        executors.open_executor(on, tracks=False) as executor,
        classifiers.fetched(model, trust=asked["trust"]) as fetched,
    ):
        files = batch_jobs.listed(paths, read(classifiers.kind(fetched)))
        folder, count = batch_jobs.made(output), executor.default_workers(len(files))
        packed, digest, cores = executor.file_ref(fetched), classifiers.digest(fetched), executor.cores(count)
        work = Answering(model=packed, digest=digest, cores=cores, **asked)
        outcome = batch_jobs.answer_all(files, folder, work, reporter, executor=executor, count=count)
    there = f" {outcome.found:,} were there." if outcome.found else ""
    reporter.result(f"Wrote {outcome.answered:,} answers to {outcome.files:,} files in {printable(folder)}.{there}")
    reasons = [why if address in why else f"{address}: {why}" for address, why in outcome.failures.items()]
    _report(len(reasons) + outcome.files + outcome.found, reasons)


def _report(total: int, unread: Sequence[str]) -> None:
    if unread:
        raise DataError(f"{len(unread):,} of {total:,} files not answered. {' '.join(unread)}")
