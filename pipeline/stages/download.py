"""The download stage: the four IDX files of a data set, verified, under ``<data_dir>/raw/<name>/``.

pipeline download --dataset mnist
pipeline download --source ~/my-images
"""

from pipeline.data import prepare
from pipeline.data.stored import Stored
from pipeline.progress import Reporter
from pipeline.settings import DataSettings


def download(settings: DataSettings, reporter: Reporter) -> Stored:
    """Return the raw data that the settings name, obtained unless it is there, unchanged and intact.

    Raises:
        DataError: the source does not hold, or no mirror gave, four whole IDX files.
        UsageError: ``source`` is an address of neither http nor https.
    """
    return prepare.obtain(settings, reporter)
