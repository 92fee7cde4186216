"""A checkpoint comes back as it was, whole or not at all, and one process at a time holds it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, UsageError
from pipeline.records import EpochRecord, Snapshot
from pipeline.training import checkpoints
from pipeline.training.checkpoints import Checkpoints

RECORD = EpochRecord(
    epoch=1,
    cost=0.1 + 0.2,  # 0.30000000000000004: a number that text must not round
    accuracy=0.9,
    val_cost=1 / 3,
    val_accuracy=0.8,
    learning_rate=0.001,
    epoch_seconds=1.5,
    samples_per_second=100.0,
)


def checkpoint(value: float = 1.0) -> Snapshot:
    return Snapshot(
        history=[RECORD],
        state=[np.full((2, 3), value, np.float32), np.array(429, np.int64)],
        best_weights=[np.full(3, value, np.float32)],
        seconds=12.5,
    )


NAME = "0123456789abcdef" * 2


@pytest.fixture
def place(tmp_path: Path) -> Checkpoints:
    """Return checkpoints of which one is begun."""
    with Checkpoints(tmp_path).hold(NAME):
        return Checkpoints(tmp_path)


@pytest.fixture
def file(tmp_path: Path, place: Checkpoints) -> Path:
    """Return the file that it will have."""
    return tmp_path / "checkpoints" / NAME / checkpoints.FILE


def test_a_checkpoint_comes_back_as_it_was(place: Checkpoints) -> None:
    place.save(NAME, checkpoint())

    loaded = place.load(NAME)

    assert loaded is not None
    assert ([RECORD], 12.5) == (loaded.history, loaded.seconds)
    for expected, array in zip(checkpoint().state, loaded.state, strict=True):
        assert expected.dtype == array.dtype
        np.testing.assert_array_equal(expected, array)
    np.testing.assert_array_equal([1, 1, 1], loaded.best_weights[0])


def test_more_than_ten_arrays_come_back_in_their_order(place: Checkpoints) -> None:
    many = Snapshot(history=[RECORD], state=[np.array(n) for n in range(120)], best_weights=[], seconds=0)
    place.save(NAME, many)

    loaded = place.load(NAME)

    assert loaded is not None
    assert list(range(120)) == [int(array) for array in loaded.state]


def test_before_the_first_epoch_there_is_none(place: Checkpoints) -> None:
    assert place.load(NAME) is None


def test_the_newer_takes_the_place_of_the_older_and_nothing_else_is_left(place: Checkpoints, file: Path) -> None:
    place.save(NAME, checkpoint(1))
    place.save(NAME, checkpoint(2))

    loaded = place.load(NAME)

    assert loaded is not None
    assert 2 == loaded.state[0][0, 0]
    assert [checkpoints.FILE] == [path.name for path in file.parent.iterdir() if path.name != checkpoints.LOCK]


def test_what_was_cut_off_in_writing_leaves_the_one_before(place: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    place.save(NAME, checkpoint(1))
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"PK half of it"))
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("not reached"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"expected to write the checkpoint .*: No space left on device\. .* make room"):
        place.save(NAME, checkpoint(2))

    loaded = place.load(NAME)

    assert loaded is not None
    assert 1 == loaded.state[0][0, 0]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_checkpoint_is_named(place: Checkpoints, file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"checkpoint.npz: expected a whole checkpoint"):
        place.load(NAME)


def test_a_process_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.training.checkpoints import Checkpoints\n"
        f"with Checkpoints(Path({str(tmp_path)!r})).hold({NAME!r}): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert Checkpoints(tmp_path).is_held(NAME)
        with (
            pytest.raises(UsageError, match=f"another process is at it, in .*{NAME}"),
            Checkpoints(tmp_path).hold(NAME),
        ):
            pass
        process.kill()
        process.wait()

    assert not Checkpoints(tmp_path).is_held(NAME)
    with Checkpoints(tmp_path).hold(NAME):
        assert (tmp_path / "checkpoints" / NAME).is_dir()


def test_asking_for_one_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert not Checkpoints(tmp_path).is_held(NAME)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")

    with pytest.raises(DataError, match="data_dir: expected a folder"), Checkpoints(tmp_path).hold(NAME):
        pass


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", "abc", NAME + "/..", NAME.upper(), f"{NAME}\n"])
def test_no_path_is_made_of_a_name_that_was_not_given_here(tmp_path: Path, name: str) -> None:
    """It comes from a tag of a run, which others may write."""
    place = Checkpoints(tmp_path)
    with pytest.raises(DataError, match="checkpoint: expected a name of 32 hexadecimal digits"), place.hold(name):
        pass
    for method in (place.remove, place.load, place.exists, place.is_held):
        with pytest.raises(DataError, match="checkpoint: expected a name of 32 hexadecimal digits"):
            method(name)
    assert [] == list(tmp_path.iterdir())


def test_one_is_there_from_when_it_is_held_until_it_is_removed(tmp_path: Path) -> None:
    place = Checkpoints(tmp_path)
    assert not place.exists(NAME)
    with place.hold(NAME):
        assert place.exists(NAME)
    assert place.exists(NAME)
    place.remove(NAME)
    assert not place.exists(NAME)
