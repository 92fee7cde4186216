"""What is checked on a node before anything trains there."""

from pathlib import Path

import pytest

from pipeline.execution import node

DIGEST = "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that the node keeps its data in."""
    monkeypatch.setenv(node.DATA_DIR, str(tmp_path / "of the node"))
    return tmp_path / "of the node"


def test_a_node_says_how_much_room_it_lacks(folder: Path) -> None:
    said = node.shortage("digits", DIGEST, 10**18)

    assert said.startswith(f"PIPELINE_NODE_DATA_DIR: expected room for 1,000,000,000,000.0 MB of data in {folder}")
    assert "" == node.shortage("digits", DIGEST, 1)


def test_a_node_that_has_the_data_needs_no_room(folder: Path) -> None:
    (folder / "processed" / f"digits-{DIGEST[:8]}").mkdir(parents=True)

    assert "" == node.shortage("digits", DIGEST, 10**18)


def test_a_node_says_that_it_cannot_write(folder: Path) -> None:
    folder.write_text("a file")

    assert f"expected a folder to write to, received {folder}: File exists" in node.shortage("digits", DIGEST, 1)
