"""A checkpoint comes back as it was, whole or not at all, and one process at a time holds it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, UsageError
from pipeline.jobs import checkpoints
from pipeline.jobs.checkpoints import Checkpoint
from pipeline.records import EpochRecord

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


def checkpoint(value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        history=[RECORD],
        state=[np.full((2, 3), value, np.float32), np.array(429, np.int64)],
        best_weights=[np.full(3, value, np.float32)],
        seconds=12.5,
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoint())

    loaded = checkpoints.load(tmp_path)

    assert loaded is not None
    assert ([RECORD], 12.5) == (loaded.history, loaded.seconds)
    for expected, array in zip(checkpoint().state, loaded.state, strict=True):
        assert expected.dtype == array.dtype
        np.testing.assert_array_equal(expected, array)
    np.testing.assert_array_equal([1, 1, 1], loaded.best_weights[0])


def test_more_than_ten_arrays_come_back_in_their_order(tmp_path: Path) -> None:
    many = Checkpoint(history=[RECORD], state=[np.array(n) for n in range(120)], best_weights=[], seconds=0)
    checkpoints.save(tmp_path, many)

    loaded = checkpoints.load(tmp_path)

    assert loaded is not None
    assert list(range(120)) == [int(array) for array in loaded.state]


def test_before_the_first_epoch_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.load(tmp_path) is None


def test_the_newer_takes_the_place_of_the_older_and_nothing_else_is_left(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoint(1))
    checkpoints.save(tmp_path, checkpoint(2))

    loaded = checkpoints.load(tmp_path)

    assert loaded is not None
    assert 2 == loaded.state[0][0, 0]
    assert [checkpoints.FILE] == [path.name for path in tmp_path.iterdir()]


def test_what_was_cut_off_in_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path, checkpoint(1))
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"PK half of it"))
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("not reached"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(tmp_path, checkpoint(2))

    loaded = checkpoints.load(tmp_path)

    assert loaded is not None
    assert 1 == loaded.state[0][0, 0]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / checkpoints.FILE).write_bytes(content)

    with pytest.raises(DataError, match=r"checkpoint.npz: expected a whole checkpoint"):
        checkpoints.load(tmp_path)


def test_a_process_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline import checkpoints\n"
        f"with checkpoints.held(Path({str(tmp_path)!r}), 'abc'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert checkpoints.is_held(tmp_path, "abc")
        with (
            pytest.raises(UsageError, match=r"another process is at it, in .*abc"),
            checkpoints.held(tmp_path, "abc"),
        ):
            pass
        process.kill()
        process.wait()

    assert not checkpoints.is_held(tmp_path, "abc")
    with checkpoints.held(tmp_path, "abc") as folder:
        assert tmp_path / "checkpoints" / "abc" == folder


def test_asking_for_one_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert not checkpoints.is_held(tmp_path, "abc")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")

    with pytest.raises(DataError, match="data_dir: expected a folder"), checkpoints.held(tmp_path, "abc"):
        pass
