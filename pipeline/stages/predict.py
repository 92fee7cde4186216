"""Classify images or sequences: label, probability and runner-up of each, printed or written to one file or many.

pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet
pipeline predict gestures.parquet --model models:/gestures-gru@champion --output answers.csv
pipeline predict parts/ --model models:/mnist-gru@champion --output answers/ --on ray
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
from pipeline.serving import answers, batch_jobs
from pipeline.serving.answers import Reader, printable
from pipeline.serving.batch_jobs import Answering
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier

Read = Callable[[Kind], Reader]
"""A function that returns the reader of files for a kind."""


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
    """Answer all examples at ``paths``; print the answers, or write them to one file or to a file for each input.

    The arguments are the options of the command.

    Raises:
        DataError: a folder contains no files to read, or files could not be read; the others are answered.
        UsageError: the output is not possible, or the model is not from this pipeline.
    """
    read = partial(batch_jobs.reader, column=column, columns=columns)
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
    _report(len(files), unread)


def _check(paths: Sequence[str], output: str | None, on: str, *, as_json: bool, by_step: bool) -> None:
    """Check that the answers can be printed, or written to one file, before any work."""
    asked = [address for address in (*paths, output or "") if batch_jobs.is_remote(address)]
    asked += [f"--on {on}"] * (on != executors.LOCAL)
    if asked:
        problem = f"must be a folder such as answers/ because of {printable(asked[0])}"
        raise UsageError(f"output: {problem}; got {output or 'none'}.")
    if by_step and output is None:
        raise UsageError("by_step: needs an --output file, .csv or .parquet.")
    if as_json and output:
        raise UsageError("json, output: only one of the two can be given; got both. Leave one of them out.")
    if output:
        answers.check_output(Path(output))


def _writer(
    output: str | None, columns: pa.Schema, reporter: Reporter, *, as_json: bool
) -> AbstractContextManager[answers.Write]:
    """Return a context that yields a function to call with each part of the answers."""
    if as_json:
        return answers.as_json(reporter.result, columns)
    if output is None:
        return nullcontext(lambda table: reporter.result(answers.lines(table)))
    return answers.written(Path(output), columns)


def _into_folder(
    paths: Sequence[str], model: str, output: str, read: Read, reporter: Reporter, *, on: str, asked: dict[str, Any]
) -> None:
    """Write a file of answers for each file into a folder, here or on a cluster; skip existing answers."""
    with (
        executors.open_executor(on, tracks=False) as executor,
        classifiers.fetched(model, trust=asked["trust"]) as (fetched, described),
    ):
        files = batch_jobs.listed(paths, read(described["kind"]))
        folder, count = batch_jobs.made(output), executor.default_workers(len(files))
        packed, digest, cores = executor.file_ref(fetched), classifiers.digest(fetched), executor.cores(count)
        work = Answering(model=packed, digest=digest, cores=cores, **asked)
        outcome = batch_jobs.answer_all(files, folder, work, reporter, executor=executor, count=count)
    found = f" {outcome.found:,} existed." if outcome.found else ""
    reporter.result(f"Wrote {outcome.answered:,} answers to {outcome.files:,} files in {printable(folder)}.{found}")
    reasons = [why if address in why else f"{address}: {why}" for address, why in outcome.failures.items()]
    _report(len(reasons) + outcome.files + outcome.found, reasons)


def _report(total: int, unread: Sequence[str]) -> None:
    if unread:
        raise DataError(f"{len(unread):,} of {total:,} files could not be answered. {' '.join(unread)}")
