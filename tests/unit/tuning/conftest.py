"""The data of a search."""

import pytest

from pipeline.data import prepare
from pipeline.data.splits import DataSet
from pipeline.progress import Reporter
from pipeline.settings import Settings


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    settings = Settings.of({"dataset": "digits", "data_dir": tmp_path_factory.mktemp("digits")})
    return prepare.prepared(settings, Reporter())[0]
