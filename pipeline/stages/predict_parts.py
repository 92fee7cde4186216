"""Answer many files into a folder, a file of answers each: by processes of this machine, or on a Ray cluster.

    pipeline predict parts/ --model models:/mnist-gru@champion --output answers/ --on ray

Repeated, it does what is missing.
"""

from collections.abc import Sequence

from pipeline.errors import DataError
from pipeline.execution import executors
from pipeline.progress import Reporter
from pipeline.serving import batch_jobs, storage
from pipeline.serving.answers import printable
from pipeline.serving.batch_jobs import Answering, Outcome
from pipeline.serving.batches import Reading
from pipeline.tracking import classifier as classifiers


def predict_parts(
    paths: Sequence[str], model: str, output: str, reading: Reading, reporter: Reporter, *, on: str, trust: bool
) -> None:
    """Answer each file at ``paths`` into a file of its name in a folder, unless that is there; failures come last.

    Args:
        paths: of Parquet, IDX and picture files and folders of them; also ``s3://BUCKET/KEY``.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: the folder; also in a store.
        reading: how the files are read, and what is asked.
        reporter: told how far it is.
        on: where it is done: local, ray, or the address of a Ray cluster.
        trust: run the code of a model that is not of this pipeline.

    Raises:
        DataError: files could not be answered; the others are.
        UsageError: the folder cannot be written to, or two files have one name.
    """
    files, folder = storage.listed(paths), storage.prepare(output)
    with executors.opened(on, tracks=False) as executor, classifiers.fetched(model, trust=trust) as fetched:
        count = executor.at_once(len(files))
        packed, digest, cores = executor.parcel(fetched), classifiers.digest(fetched), executor.cores(count)
        work = Answering(model=packed, digest=digest, trust=trust, reading=reading, cores=cores)
        outcome = batch_jobs.answer_all(files, folder, work, reporter, executor=executor, count=count)
    _tell(outcome, folder, reporter)


def _tell(outcome: Outcome, folder: str, reporter: Reporter) -> None:
    there = f" {outcome.found:,} were there." if outcome.found else ""
    reporter.result(f"Wrote {outcome.answered:,} answers to {outcome.files:,} files in {printable(folder)}.{there}")
    if outcome.failures:
        reasons = [why if address in why else f"{address}: {why}" for address, why in outcome.failures.items()]
        of = len(outcome.failures) + outcome.files + outcome.found
        raise DataError(f"{len(reasons):,} of {of:,} files not answered. {' '.join(reasons)}")
