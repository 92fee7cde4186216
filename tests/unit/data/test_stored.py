import json
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.data import processed, raw_data, stored
from pipeline.data.stored import Stored
from pipeline.errors import DataError
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import Remembering, opened, set_digest, sha256, small_set, write

CUSTOM = f"custom-{set_digest(small_set())[:8]}"


@pytest.fixture
def raw(tmp_path: Path) -> Stored:
    root = write(tmp_path / "raw", {})
    return raw_data.keep(root, CUSTOM, opened(small_set()), source="/here", origin="/here", inputs={})


# --- the lock -------------------------------------------------------------------------------------------------------


def test_a_second_process_waits_and_says_so(tmp_path: Path) -> None:
    reporter, entered = Remembering(), threading.Event()

    def second() -> None:
        with stored.locked(tmp_path, reporter):
            entered.set()

    thread = threading.Thread(target=second)
    with FileLock(tmp_path / ".lock"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
    assert [f"Waiting for another process that is using {tmp_path}."] == reporter.notes


@pytest.mark.parametrize(("root", "reason"), [("file/raw", "Not a directory"), ("", ".*directory")])
def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path, root: str, reason: str) -> None:
    write(tmp_path, {"file": b""})
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(DataError, match=f"^data_dir: expected a folder to write to, received {tmp_path}.*: {reason}"),
        stored.locked(tmp_path / root, Remembering()),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("9 requested and 4 written"), "9 requested and 4 written"), (OSError(), "OSError")]
)
def test_an_error_of_the_system_in_the_block_names_the_folder(tmp_path: Path, error: OSError, reason: str) -> None:
    with pytest.raises(DataError, match=rf"received {tmp_path}: {reason}\."), stored.locked(tmp_path, Remembering()):
        raise error


# --- the manifest ---------------------------------------------------------------------------------------------------


def test_a_folder_is_read_as_it_was_written(raw: Stored) -> None:
    assert raw == Stored.read(raw.folder)
    assert {name: sha256(content) for name, content in small_set().items()} == raw.files


@pytest.mark.parametrize("manifest", ['{"name": "custom-1"', "[]", '{"name": 1}', None])
def test_a_folder_without_a_whole_manifest_holds_no_data(raw: Stored, manifest: str | None) -> None:
    path = raw.folder / "manifest.json"
    path.unlink() if manifest is None else path.write_text(manifest)
    assert Stored.read(raw.folder) is None


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "mnist"])
def test_a_manifest_with_the_name_of_another_folder_is_not_believed(raw: Stored, name: str) -> None:
    path = raw.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    assert Stored.read(raw.folder) is None


@pytest.mark.parametrize("stage", ["download", "preprocess"])
def test_a_file_that_changed_or_is_missing_is_named_with_the_command_to_run(raw: Stored, stage: str) -> None:
    found = raw
    if stage == "preprocess":
        made = processed.split(raw, raw.folder.parents[1], Remembering())
        found = Stored.read(made.folder) or raw
    for name, expected in found.files.items():
        path = found.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"?")
        with pytest.raises(DataError, match=f"{name}: expected the digest {expected}, .*`pipeline {stage}` again"):
            found.verify()
        path.unlink()
        with pytest.raises(DataError, match=f"{name}: expected the digest {expected}, received No such file"):
            found.verify()
        path.write_bytes(content)
    found.verify()


# --- raw folders ----------------------------------------------------------------------------------------------------


def test_raw_data_is_found_by_the_source_that_gave_it_last(raw: Stored) -> None:
    data_dir = raw.folder.parents[1]
    other = raw_data.keep(raw.folder.parent, "mnist", opened(small_set()), source="/here", origin="/here", inputs={})
    assert "mnist" == raw_data.locate(DataSettings(source="/here", data_dir=data_dir)).name
    assert other == raw_data.locate(DataSettings(dataset="mnist", data_dir=data_dir))


def test_missing_raw_data_comes_with_the_command_that_gets_it(tmp_path: Path) -> None:
    settings = DataSettings(dataset="digits", data_dir=tmp_path / "my data")
    command = f"`pipeline download --dataset digits --data-dir '{tmp_path}/my data'`"
    with pytest.raises(DataError, match=f"^data_dir: expected digits in .*, found none. First run {command}"):
        raw_data.locate(settings)
    settings = DataSettings(source="https://user:secret@host/data?secret", data_dir=tmp_path)
    with pytest.raises(DataError, match="`pipeline download --source https://host/data --data-dir") as caught:
        raw_data.locate(settings)
    assert "secret" not in str(caught.value)
