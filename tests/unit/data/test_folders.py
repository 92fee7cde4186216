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


def test_a_file_in_the_place_of_a_folder_stays(tmp_path: Path) -> None:
    write(tmp_path, {"target": b"precious"})
    with (
        pytest.raises(DataError, match=f"^data_dir: expected a folder or nothing at {tmp_path}/target, found a file"),
        folders.replacing(tmp_path / "target"),
    ):
        pass
    assert [(tmp_path / "target", b"precious")] == [(path, path.read_bytes()) for path in tmp_path.iterdir()]


def test_a_link_to_a_folder_gives_way_and_the_folder_stays(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"precious": b""})
    root = write(tmp_path / "root", {})
    (root / "target").symlink_to(elsewhere)
    with folders.replacing(root / "target") as incoming:
        write(incoming, {"new": b""})
    assert ["target"] == [path.name for path in root.iterdir()]
    assert (False, True) == ((root / "target").is_symlink(), (elsewhere / "precious").exists())


@pytest.mark.parametrize("left", [".incoming-1", ".outgoing-1"])
def test_of_a_link_that_was_left_only_the_link_is_removed(tmp_path: Path, left: str) -> None:
    elsewhere = write(tmp_path / "elsewhere", {"precious": b""})
    root = write(tmp_path / "root", {})
    (root / left).symlink_to(elsewhere)
    with folders.locked(root, Remembering()):
        assert [".lock"] == [path.name for path in root.iterdir()]
    assert (elsewhere / "precious").exists()


def test_a_lock_that_cannot_be_taken_is_explained(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(DataError, match=f"^data_dir: expected a folder to write to, received {tmp_path}: .*directory"),
        folders.locked(tmp_path, Remembering()),
    ):
        pass


def test_an_error_without_the_words_of_the_system_is_still_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"received: 9 requested and 4 written\."), folders.replacing(tmp_path / "a"):
        raise OSError("9 requested and 4 written")
    with pytest.raises(DataError, match=r"received: OSError\."), folders.replacing(tmp_path / "a"):
        raise OSError


# --- one file -------------------------------------------------------------------------------------------------------


def test_a_file_takes_the_place_of_another_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for content in (b"first", b"second"):
        with folders.written_whole(target) as file:
            file.write(content[:3])
            assert (content == b"second") == target.exists()
            file.write(content[3:])
        assert (content, [target]) == (target.read_bytes(), list(tmp_path.iterdir()))


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "full")])
def test_of_a_file_that_was_not_finished_nothing_is_left(tmp_path: Path, failure: BaseException) -> None:
    write(tmp_path, {"target": b"old"})

    def fail_half_way() -> None:
        with folders.written_whole(tmp_path / "target") as file:
            file.write(b"new")
            raise failure

    with pytest.raises(type(failure)):
        fail_half_way()
    assert [(tmp_path / "target", b"old")] == [(path, path.read_bytes()) for path in tmp_path.iterdir()]
