"""The stages that need no MLflow: `download` and `preprocess`.

pipeline download --source ~/my-images
pipeline preprocess --dataset mnist
"""

from pipeline.data import prepare, processed, raw_data
from pipeline.data.splits import DataSet
from pipeline.data.stored import Stored
from pipeline.progress import Reporter
from pipeline.settings import DataSettings


def download(settings: DataSettings, reporter: Reporter) -> Stored:
    """Return the verified IDX files of a data set, in ``<data_dir>/raw/<name>/``; download missing or changed ones.

    Raises:
        DataError: neither the source nor a mirror has four complete IDX files.
        UsageError: ``source`` is an address, but not an http or https address.
    """
    return prepare.obtain(settings, reporter)


def preprocess(settings: DataSettings, reporter: Reporter) -> DataSet:
    """Return the checked and split data set, in ``<data_dir>/processed/<name>-<digest8>/``; make it if necessary.

    Raises:
        DataError: the data is not downloaded yet, a raw file has changed since, or the files do not fit together.
    """
    raw = raw_data.locate(settings)
    raw.verify()
    return processed.split(raw, settings.data_dir, reporter)
