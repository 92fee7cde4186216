"""The preprocess stage: raw IDX files, checked and split, under ``<data_dir>/processed/<name>-<digest8>/``.

pipeline preprocess --dataset mnist
"""

from pipeline.data import processed, raw_data
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import DataSettings


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the processed data set that the settings name, made unless it is there, unchanged and intact.

    Raises:
        DataError: nothing is downloaded yet, a raw file has changed since, or the files do not fit together.
    """
    raw = raw_data.locate(settings)
    raw.verify()
    return processed.split(raw, settings.data_dir, reporter)
