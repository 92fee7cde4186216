"""A checkpoint comes back as it was, whole or not at all."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.records import EpochRecord, Snapshot
from pipeline.training import checkpoints
from pipeline.training.checkpoints import LocalCheckpoints
from pipeline.training.locks import RunLocks

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
def store(tmp_path: Path) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of the checkpoint."""
    return tmp_path / "checkpoints" / NAME / checkpoints.FILE


def test_a_checkpoint_comes_back_as_it_was(store: LocalCheckpoints) -> None:
    store.save(NAME, checkpoint())

    loaded = store.load(NAME)

    assert loaded is not None
    assert ([RECORD], 12.5) == (loaded.history, loaded.seconds)
    for expected, array in zip(checkpoint().state, loaded.state, strict=True):
        assert expected.dtype == array.dtype
        np.testing.assert_array_equal(expected, array)
    np.testing.assert_array_equal([1, 1, 1], loaded.best_weights[0])


def test_more_than_ten_arrays_come_back_in_their_order(store: LocalCheckpoints) -> None:
    many = Snapshot(history=[RECORD], state=[np.array(n) for n in range(120)], best_weights=[], seconds=0)
    store.save(NAME, many)

    loaded = store.load(NAME)

    assert loaded is not None
    assert list(range(120)) == [int(array) for array in loaded.state]


def test_before_the_first_epoch_there_is_none(store: LocalCheckpoints) -> None:
    assert store.load(NAME) is None


def test_the_newer_takes_the_place_of_the_older_and_nothing_else_is_left(store: LocalCheckpoints, file: Path) -> None:
    store.save(NAME, checkpoint(1))
    store.save(NAME, checkpoint(2))

    loaded = store.load(NAME)

    assert loaded is not None
    assert 2 == loaded.state[0][0, 0]
    assert [checkpoints.FILE] == [path.name for path in file.parent.iterdir()]


def test_an_interrupted_write_leaves_the_one_before(store: LocalCheckpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(NAME, checkpoint(1))
    monkeypatch.setattr(np, "savez", lambda file, **_: file.write(b"PK half of it"))
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("not reached"))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"expected to write the checkpoint .*: No space left on device\. .* free"):
        store.save(NAME, checkpoint(2))

    loaded = store.load(NAME)

    assert loaded is not None
    assert 1 == loaded.state[0][0, 0]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_checkpoint_is_named(store: LocalCheckpoints, file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"checkpoint.npz: expected a complete checkpoint"):
        store.load(NAME)


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", "abc", NAME + "/..", NAME.upper(), f"{NAME}\n"])
def test_no_path_is_made_of_a_name_from_elsewhere(tmp_path: Path, name: str) -> None:
    """It comes from a tag of a run, which others may write."""
    store, locks = LocalCheckpoints(tmp_path), RunLocks(tmp_path)
    for method in (store.remove, store.load, locks.exists, locks.is_held, lambda name: locks.hold(name).__enter__()):
        with pytest.raises(DataError, match="checkpoint: expected a name of 32 hexadecimal digits"):
            method(name)
    assert [] == list(tmp_path.iterdir())
