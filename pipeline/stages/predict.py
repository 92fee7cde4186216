"""Classify images: label, probability and runner-up of each, printed or written to a file, or a file for each input.

    pipeline predict 7.png photo.jpg digits/ --model models:/mnist-gru@champion
    pipeline predict t10k-images-idx3-ubyte.gz --model models:/mnist-gru@champion --output answers.parquet
    pipeline predict parts/ --model models:/mnist-gru@champion --output answers/ --on ray

Takes pictures, IDX and Parquet files, and folders of them, in parts of bounded memory.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePath

import pyarrow as pa

from pipeline.errors import DataError, UsageError
from pipeline.execution import executors
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.serving import answers, batch_jobs
from pipeline.serving.answers import Named, printable
from pipeline.serving.batch_jobs import Answering
from pipeline.serving.image_files import ImageFiles
from pipeline.tracking import classifier as classifiers
from pipeline.tracking.classifier import Classifier


def predict(
    reporter: Reporter,
    *,
    paths: Sequence[str],
    model: str,
    output: str | None,
    as_json: bool,
    by_step: bool,
    column: str | None,
    on: str,
    trust: bool,
) -> None:
    """Answer all images at ``paths``; print the answers or write them, or a file of them for each input.

    The arguments are the options of the command.

    Raises:
        DataError: a folder holds no images, or files could not be read: the others are answered.
        UsageError: the output is not possible, or the model is not this pipeline's.
    """
    if output and not as_json and (batch_jobs.is_folder(output) or output.endswith("/") or not PurePath(output).suffix):
        _into_folder(paths, model, output, reporter, column=column, by_step=by_step, on=on, trust=trust)
    else:
        _check(paths, output, on, as_json=as_json, by_step=by_step)
        files = [(answers.name(file), Path(file)) for file in batch_jobs.listed(paths, ImageFiles)]
        classifier = classifiers.load(model, trust=trust)
        _as_table(files, classifier, output, reporter, column=column, by_step=by_step, as_json=as_json)


def _as_table(
    files: Sequence[Named],
    classifier: Classifier,
    output: str | None,
    reporter: Reporter,
    *,
    column: str | None,
    by_step: bool,
    as_json: bool,
) -> None:
    """Answer all files as one table, printed or written."""
    reader = ImageFiles(classifier.form, column)
    columns = answers.schema(files, reader, classifier.class_names, by_step=by_step)
    with _writer(output, columns, reporter, as_json=as_json) as write:
        count, unread = answers.answer(files, reader, classifier, write, by_step=by_step, cores=usable_cores())
    if output:
        reporter.result(f"Wrote {count:,} answers to {output}.")
    _report(len(files), list(map(str, unread)))


def _check(paths: Sequence[str], output: str | None, on: str, *, as_json: bool, by_step: bool) -> None:
    """Check that the answers can be printed or written to one file, before anything is answered."""
    asked = [f"with {address}" for address in (*paths, output or "") if batch_jobs.is_remote(address)]
    asked += [f"on {on}"] * (on != executors.LOCAL)
    if asked:
        expected = f"expected, {printable(asked[0])}, a folder such as answers/"
        raise UsageError(f"output: {expected}, received {output or 'none'}.")
    if by_step and output is None:
        raise UsageError("by_step: expected an --output, a .csv or .parquet file, received none.")
    if as_json and output:
        raise UsageError("json, output: expected one of the two, received both.")
    if output:
        answers.check_output(Path(output))


def _writer(
    output: str | None, columns: pa.Schema, reporter: Reporter, *, as_json: bool
) -> AbstractContextManager[answers.Write]:
    """Return a context that yields a function for the answers as they come."""
    if as_json:
        return answers.as_json(reporter.result)
    if output is None:
        return nullcontext(lambda table: reporter.result(answers.lines(table)))
    return answers.written(Path(output), columns)


def _into_folder(
    paths: Sequence[str],
    model: str,
    output: str,
    reporter: Reporter,
    *,
    column: str | None,
    by_step: bool,
    on: str,
    trust: bool,
) -> None:
    """Answer each file into a file of its name in a folder, unless that is there, here or on a cluster."""
    files, folder = batch_jobs.listed(paths, ImageFiles), batch_jobs.made(output)
    with executors.open_executor(on, tracks=False) as executor, classifiers.fetched(model, trust=trust) as fetched:
        count = executor.default_workers(len(files))
        packed, digest, cores = executor.file_ref(fetched), classifiers.digest(fetched), executor.cores(count)
        work = Answering(model=packed, digest=digest, trust=trust, column=column, by_step=by_step, cores=cores)
        outcome = batch_jobs.answer_all(files, folder, work, reporter, executor=executor, count=count)
    there = f" {outcome.found:,} were there." if outcome.found else ""
    reporter.result(f"Wrote {outcome.answered:,} answers to {outcome.files:,} files in {printable(folder)}.{there}")
    reasons = [why if address in why else f"{address}: {why}" for address, why in outcome.failures.items()]
    _report(len(reasons) + outcome.files + outcome.found, reasons)


def _report(total: int, unread: Sequence[str]) -> None:
    if unread:
        raise DataError(f"{len(unread):,} of {total:,} files not answered. {' '.join(unread)}")
