import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.data import folders
from pipeline.errors import DataError
from tests.unit.data_fixtures import Remembering, write


def test_a_second_process_waits_and_says_so(tmp_path: Path) -> None:
    reporter, entered = Remembering(), threading.Event()

    def second() -> None:
        with folders.locked(tmp_path, reporter):
            entered.set()

    thread = threading.Thread(target=second)
    with FileLock(tmp_path / ".lock"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
    assert [f"Waiting for another process that works in {tmp_path}."] == reporter.notes


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    write(tmp_path / ".incoming-1", {"half": b""})
    with folders.locked(tmp_path, Remembering()):
        assert [".lock"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(("root", "reason"), [("file/raw", "Not a directory"), ("", ".*directory")])
def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path, root: str, reason: str) -> None:
    write(tmp_path, {"file": b""})
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(DataError, match=f"^data_dir: expected a folder to write to, received {tmp_path}.*: {reason}"),
        folders.locked(tmp_path / root, Remembering()),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("9 requested and 4 written"), "9 requested and 4 written"), (OSError(), "OSError")]
)
def test_an_error_of_the_system_in_the_block_names_the_folder(tmp_path: Path, error: OSError, reason: str) -> None:
    with pytest.raises(DataError, match=rf"received {tmp_path}: {reason}\."), folders.locked(tmp_path, Remembering()):
        raise error
