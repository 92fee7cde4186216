import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.data import folders
from pipeline.errors import DataError
from tests.unit.data_fixtures import Remembering, write


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path: Path) -> None:
    target = write(tmp_path / "target", {"old": b""})
    with folders.replacing(target) as incoming:
        write(incoming, {"new": b""})
        assert ["old"] == [path.name for path in target.iterdir()]
    assert [target / "new"] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [target] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("failure", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), DataError)]
)
def test_what_could_not_be_finished_leaves_no_trace(
    failure: BaseException, seen: type[BaseException], tmp_path: Path
) -> None:
    target = write(tmp_path / "target", {"old": b""})

    def fail_half_way() -> None:
        with folders.replacing(target) as incoming:
            write(incoming, {"new": b""})
            raise failure

    with pytest.raises(seen):
        fail_half_way()
    assert [target, target / "old"] == sorted(tmp_path.rglob("*"))


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    write(tmp_path / ".incoming-1", {"half": b""})
    write(tmp_path / ".outgoing-1", {"old": b""})
    with folders.locked(tmp_path, Remembering()):
        assert [".lock"] == [path.name for path in tmp_path.iterdir()]


def test_of_two_processes_the_second_waits_and_says_so(tmp_path: Path) -> None:
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


def test_a_data_dir_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"file": b""})
    lock = folders.locked(tmp_path / "file" / "raw", Remembering())
    with pytest.raises(DataError, match=r"^data_dir: expected a folder to write to, .*/file/raw: Not a directory"):
        lock.__enter__()


def test_when_a_folder_cannot_take_its_place_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write(tmp_path / "target", {"old": b""})
    rename = Path.rename

    def no_new_name(path: Path, to: Path) -> Path:
        if path.name.startswith(".incoming-"):
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", no_new_name)
    with pytest.raises(DataError, match=f"data_dir: expected to write {target}"), folders.replacing(target):
        pass
    assert [target, target / "old"] == sorted(tmp_path.rglob("*"))
