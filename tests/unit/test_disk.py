import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from pipeline import disk
from tests.unit.data_fixtures import write


def content(root: Path) -> dict[str, bytes | None]:
    """Return all files in and below a folder with their content, and all folders in it, by their relative paths."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt(), OSError(28, "full")])
@pytest.mark.parametrize(("new", "inside"), [(disk.new_file, ""), (disk.new_folder, "file")])
def test_what_is_written_replaces_the_old_one_only_when_it_is_complete(
    new: Callable[[Path], AbstractContextManager[Path]], inside: str, failure: BaseException | None, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    write(target if inside else tmp_path, {inside or "target": b"old"})
    with suppress(KeyboardInterrupt, OSError), new(target) as incoming:
        (incoming / inside).write_bytes(b"new")
        assert b"old" == (target / inside).read_bytes()
        if failure:
            raise failure
    assert [b"old" if failure else b"new"] == [file for file in content(tmp_path).values() if file]


def test_an_interruption_is_not_hidden_by_a_file_that_cannot_be_removed(tmp_path: Path) -> None:
    folder = write(tmp_path / "folder", {})
    with pytest.raises(KeyboardInterrupt), disk.new_file(folder / "file"):  # noqa: PT012 - the folder goes first
        folder.rmdir()
        folder.touch()
        raise KeyboardInterrupt


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    for each in (b"old", b"new"):
        disk.write(tmp_path / "a" / "b" / "file", each)
    assert {"a": None, "a/b": None, "a/b/file": b"new"} == content(tmp_path)


def test_the_name_of_an_unfinished_file_says_which_one_it_is_and_is_never_too_long(tmp_path: Path) -> None:
    for name in ("answers.csv", f"{'é' * 120}.csv"):  # 244 bytes; 255 are the most
        with disk.new_file(tmp_path / name) as incoming:
            incoming.write_bytes(b"")
            assert incoming.name.endswith(name[-10:])


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write(tmp_path / "target", {"old": b""})
    rename = Path.rename

    def no_new_name(path: Path, to: Path) -> Path:
        if (path / "new").exists():
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", no_new_name)
    with pytest.raises(OSError, match="Input/output error"), disk.new_folder(target) as incoming:
        write(incoming, {"new": b""})
    assert {"target": None, "target/old": b""} == content(tmp_path)


@pytest.mark.parametrize(
    ("make", "parent"),
    [(disk.new_folder, ""), (disk.new_folder, "file/"), (disk.new_file, "file/"), (disk.new_file, "none/")],
)
def test_a_folder_that_cannot_be_written_raises_a_system_error(
    make: Callable[[Path], AbstractContextManager[Path]], parent: str, tmp_path: Path
) -> None:
    write(tmp_path, {"file": b"precious", "target": b"precious"})
    with (
        pytest.raises(OSError, match=r"is a file; move it|Not a directory|No such file"),
        make(tmp_path / f"{parent}target") as new,
    ):
        new.write_bytes(b"")
    assert {"file": b"precious", "target": b"precious"} == content(tmp_path)


def test_remains_of_killed_processes_are_swept_and_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere, root = write(tmp_path / "elsewhere", {"precious": b""}), write(tmp_path / "root", {})
    write(root / ".unfinished-1", {"half": b""})
    for name in ("target", ".unfinished-2"):
        (root / name).symlink_to(elsewhere)
    with disk.new_folder(root / "target") as incoming:
        write(incoming, {"new": b""})
    disk.sweep(root)
    assert {"target": None, "target/new": b""} == content(root)
    assert {"precious": b""} == content(elsewhere)
    disk.remove_folder(root / "target")
    assert {} == content(root)


def test_sizes_are_summed(tmp_path: Path) -> None:
    write(tmp_path / "below", {"one": bytes(400), "two": bytes(600)})
    assert (1_000, 400, 0) == tuple(disk.size(tmp_path / name) for name in ("", "below/one", "none"))


# --- digests --------------------------------------------------------------------------------------------------------

# Test vector for "abc" from FIPS 180-4.
SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_depends_on_the_content_of_a_file_and_on_the_order_and_limits_of_texts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert SHA256_ABC == disk.file_digest(tmp_path / "file") == disk.text_digest("abc")
    assert 4 == len({disk.text_digest(*texts) for texts in (("ab", "c"), ("c", "ab"), ("a", "bc"), ("abc",))})


def test_code_has_the_digest_of_its_modules_and_their_names() -> None:
    source = hashlib.sha256(Path(disk.__file__).read_bytes()).hexdigest()
    assert hashlib.sha256(f"{source}\ndisk.py".encode()).hexdigest() == disk.code_digest("dis[k].py")
