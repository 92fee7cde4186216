"""Classify the images of many files into a folder with a file of answers for each, here or on a Ray cluster.

    pipeline predict parts/ --model models:/mnist-gru@champion --output answers/ --on ray

Repeated, it does what is missing.
"""

from collections.abc import Sequence

from pipeline.errors import DataError
from pipeline.execution import executors
from pipeline.progress import Reporter
from pipeline.serving import batch_jobs, storage
from pipeline.serving.answers import printable
from pipeline.serving.batch_jobs import Answering
from pipeline.serving.batches import Reading
from pipeline.tracking import classifier as classifiers


def predict_folder(
    paths: Sequence[str], model: str, output: str, reading: Reading, reporter: Reporter, *, on: str, trust: bool
) -> None:
    """Answer each file at ``paths`` into a file of its name in a folder, unless that is there; failures come last.

    Args:
        paths: of Parquet, IDX and picture files and folders of them; also ``s3://BUCKET/KEY``.
        model: its address, such as ``models:/mnist-gru@champion``.
        output: the folder; also in a store.
        reading: how the files are read, and what is asked.
        reporter: shows the progress.
        on: where it runs: local, ray, or the address of a Ray cluster.
        trust: run the model's code even if it is not this pipeline's.

    Raises:
        DataError: files could not be answered; the others are.
        UsageError: the folder cannot be written to, or two files have the same name.
    """
    files, folder = storage.listed(paths), storage.prepare(output)
    with executors.open_executor(on, tracks=False) as executor, classifiers.fetched(model, trust=trust) as fetched:
        count = executor.default_workers(len(files))
        packed, digest, cores = executor.file_ref(fetched), classifiers.digest(fetched), executor.cores(count)
        work = Answering(model=packed, digest=digest, trust=trust, reading=reading, cores=cores)
        outcome = batch_jobs.answer_all(files, folder, work, reporter, executor=executor, count=count)
    there = f" {outcome.found:,} were there." if outcome.found else ""
    reporter.result(f"Wrote {outcome.answered:,} answers to {outcome.files:,} files in {printable(folder)}.{there}")
    if outcome.failures:
        reasons = [why if address in why else f"{address}: {why}" for address, why in outcome.failures.items()]
        total = len(outcome.failures) + outcome.files + outcome.found
        raise DataError(f"{len(reasons):,} of {total:,} files not answered. {' '.join(reasons)}")
