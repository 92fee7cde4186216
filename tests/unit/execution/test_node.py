"""What is checked on a node before anything trains there."""

from pathlib import Path

import pytest

from pipeline.errors import DataError
from tests import ray_fixtures  # noqa: F401 - before ray, which reads the environment when it is imported

from pipeline.execution import ray_node as node  # isort: skip
from pipeline.tracking import connection

DIGEST = "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the node keeps its data in; the tracking server takes runs."""
    monkeypatch.setattr(connection, "connect", lambda *, writes: None)
    monkeypatch.setenv(node.DATA_DIR, str(tmp_path / "of the node"))
    return tmp_path / "of the node"


def test_a_node_that_lacks_room_for_the_data_is_refused(folder: Path) -> None:
    said = f"PIPELINE_NODE_DATA_DIR: expected 1,000,000,000,000.0 MB of free space for the data in {folder}"
    with pytest.raises(DataError, match=said):
        node.check_training("digits", DIGEST, 10**18)

    node.check_training("digits", DIGEST, 1)
    (folder / "processed" / f"digits-{DIGEST[:8]}").mkdir(parents=True)  # which is the data
    node.check_training("digits", DIGEST, 10**18)


def test_a_node_that_cannot_write_its_folder_is_refused(folder: Path) -> None:
    folder.write_text("a file")

    with pytest.raises(DataError, match=f"expected a folder to write to, received {folder}: File exists"):
        node.check_training("digits", DIGEST, 1)
