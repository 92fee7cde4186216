"""The preprocess stage: raw IDX files, checked and split, under ``<data_dir>/processed/<name>-<digest8>/``.

pipeline preprocess --dataset mnist
"""

from pipeline import digests
from pipeline.data import folders, processed, raw_data
from pipeline.data.splits import SPLITS, DataSet
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import DataSettings


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the processed data set that the settings name, made unless it is there, unchanged and intact.

    Raises:
        DataError: nothing is downloaded yet, a raw file has changed since, or the files do not fit together.
    """
    raw = raw_data.locate(settings)
    raw_data.verify(raw)
    code = digests.of_code("data/processed.py")
    with folders.locked(processed.processed_folder(settings.data_dir), reporter):
        made = processed.code_of(processed.folder_of(settings.data_dir, raw.name, raw.digest)) == code
        kept = _intact(settings, reporter) if made else None
        if kept is not None:
            return kept
        dataset = processed.save(raw, data_dir=settings.data_dir, code=code)
    counts = ", ".join(f"{len(getattr(dataset, split).labels):,} {split}" for split in SPLITS)
    reporter.note(f"Preprocessed {dataset.name} into {dataset.folder}: {counts} images.")
    return dataset


def _intact(settings: DataSettings, reporter: Reporter) -> DataSet | None:
    """Return the data set that is there already, if its files are what they were."""
    try:
        dataset = processed.find(settings)
    except DataError as error:
        reporter.note(f"Preprocessing again. {error}")
        return None
    reporter.note(f"Skipped preprocess: {dataset.name} in {dataset.folder} is unchanged and intact.")
    return dataset
