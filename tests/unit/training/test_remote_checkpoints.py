"""Checkpoints as files of runs, and leases that say who is at a run, in a real store."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.progress import Reporter
from pipeline.records import Snapshot
from pipeline.stages import cleaning
from pipeline.tracking import leases, lifecycle, schema, store
from pipeline.tracking.leases import Driver
from pipeline.tracking.schema import TrackedRun
from pipeline.training.checkpoints import Checkpoints, HeldError
from pipeline.training.remote_checkpoints import Travelling, place_of
from tests.unit.tracking.test_lifecycle import remove_for_good
from tests.unit.training.test_checkpoints import RECORD, checkpoint


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("travelling")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield


TAGS = {schema.KIND: schema.TRAINING, schema.FINGERPRINT: "f", schema.CHECKPOINT: schema.ON_SERVER}


@pytest.fixture
def run_id() -> Iterator[str]:
    """Return the id of a run that was made and that nobody has taken."""
    made = lifecycle.begin_run("gru-s1", TAGS)
    yield made
    leases.discard(store.get_run(made))


def after(epochs: int) -> Snapshot:
    return replace(checkpoint(), history=[replace(RECORD, epoch=number + 1) for number in range(epochs)])


def loaded(run_id: str) -> int:
    """Return after how many epochs the checkpoint of a run stands."""
    snapshot = Travelling().load(run_id)
    return len(snapshot.history) if snapshot else 0


def test_the_last_checkpoint_is_the_one_that_comes_back_and_is_gone_when_it_is_removed(run_id: str) -> None:
    place = Travelling()
    with place.hold(run_id):
        assert 0 == loaded(run_id)
        for epochs in (1, 2, 3):
            place.save(run_id, after(epochs))
        assert 3 == loaded(run_id)
        assert ["checkpoint/1-0.npz", "checkpoint/1-1.npz"] == [
            each.path for each in MlflowClient().list_artifacts(run_id, "checkpoint")
        ]
        place.remove(run_id)
    assert 0 == loaded(run_id)


def test_of_a_file_that_is_not_whole_the_one_before_counts(run_id: str) -> None:
    place = Travelling()
    with place.hold(run_id):
        place.save(run_id, after(1))
        place.save(run_id, after(2))
        content = Path(MlflowClient().download_artifacts(run_id, "checkpoint/1-0.npz")).read_bytes()
        store.write_file(run_id, "checkpoint/1-0.npz", content[:-100])
        assert 1 == loaded(run_id)


def test_a_run_is_held_by_one_and_an_attempt_that_was_given_up_logs_nothing_more(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Travelling(), Travelling()
    with first.hold(run_id):
        assert second.is_held(run_id)
        with pytest.raises(HeldError, match=f"another process is at run {run_id}"), second.hold(run_id):
            pass
        monkeypatch.setattr(leases, "FRESH", 0.0)  # from now on it has been silent for too long
        with second.hold(run_id):
            first_words = pytest.raises(lifecycle.TakenError, match="another process has taken it over")
            assert (False, True) == (first.keeps(run_id), second.keeps(run_id))
            with first_words:
                first.save(run_id, after(1))
            second.save(run_id, after(2))
    assert 2 == loaded(run_id)


def test_the_heartbeat_of_the_driver_holds_its_trainings_and_a_lost_attempt_gives_way(run_id: str) -> None:
    comparison = lifecycle.begin_run("comparison", {schema.KIND: schema.COMPARED})
    driver = Travelling()
    with driver.hold(comparison):
        assert Driver(comparison, 1) == driver.driver
        with Travelling(driver.driver, "gru-s1").hold(run_id):
            assert Travelling().is_held(run_id)
            assert Travelling(driver.driver, "another job").is_held(run_id)
            assert not Travelling(driver.driver, "gru-s1").is_held(run_id)
            lifecycle.mark_failed(comparison, "killed", status="KILLED")
            assert not Travelling().is_held(run_id)


def test_a_run_whose_driver_was_removed_for_good_is_held_by_nobody(run_id: str) -> None:
    comparison = lifecycle.begin_run("comparison", {schema.KIND: schema.COMPARED})
    lease = leases.take(store.get_run(run_id), Driver(comparison, 1), "gru-s1")
    assert lease is not None
    remove_for_good(comparison)

    assert "RUNNING" == store.get_run(run_id).status
    assert not leases.is_held(store.get_run(run_id))


def test_a_holder_shows_that_it_is_alive_while_it_does_something_else(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "EVERY", 0.05)
    with Travelling().hold(run_id):
        first = last = leases.beat_of(store.get_run(run_id))
        while last == first:
            last = leases.beat_of(store.get_run(run_id))
        monkeypatch.setattr(leases, "FRESH", 0.0)
        leases.take(store.get_run(run_id))  # another: from now on its heartbeat counts alone
        while any(thread.name == run_id for thread in threading.enumerate()):
            time.sleep(0.05)


def test_an_attempt_that_was_given_up_leaves_no_file(run_id: str) -> None:
    first = Travelling()
    with first.hold(run_id):
        leases.take(store.get_run(run_id))
        with pytest.raises(lifecycle.TakenError):
            first.save(run_id, after(1))

    assert [] == MlflowClient().list_artifacts(run_id, "checkpoint")


def test_a_checkpoint_that_a_run_has_left_behind_is_found_and_removed(run_id: str, tmp_path: Path) -> None:
    place = Travelling()
    with place.hold(run_id):
        place.save(run_id, after(1))
    lifecycle.end(run_id)
    (found,) = [each for each in cleaning.find(tmp_path, Reporter()) if run_id in each.what]

    assert ("its run has ended", True) == (found.reason, found.size > 0)
    assert found.go()
    assert [] == MlflowClient().list_artifacts(run_id, "checkpoint")
    assert [] == [each for each in cleaning.find(tmp_path, Reporter()) if run_id in each.what]


def test_of_several_that_take_a_run_at_the_same_time_one_gets_it(run_id: str) -> None:
    run, barrier, won = store.get_run(run_id), threading.Barrier(4), []

    def take() -> None:
        barrier.wait()
        won.append(leases.take(run))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len([lease for lease in won if lease])


def test_of_two_new_runs_of_one_training_one_is_trained_and_the_other_goes(run_id: str) -> None:
    rival = lifecycle.begin_run("gru-s1", TAGS)
    with Travelling().hold(run_id):
        assert store.get_run(rival).is_deleted
        with pytest.raises(HeldError, match="at the same time"), Travelling().hold(rival):
            pass


def test_of_two_new_runs_of_one_training_the_one_that_is_left_is_trained(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other has found this one taken, and deleted its own, between the two looks of this process."""
    rival = lifecycle.begin_run("gru-s1", TAGS)
    first, second = sorted([run_id, rival])
    seen = leases.rivals

    def and_the_other_gives_up(run: TrackedRun) -> list[TrackedRun] | None:
        found = seen(run)
        leases.discard(store.get_run(second))
        return found

    monkeypatch.setattr(leases, "rivals", and_the_other_gives_up)
    with Travelling().hold(first):
        assert not store.get_run(first).is_deleted
    leases.discard(store.get_run(first))


def test_a_new_run_of_a_training_that_somebody_is_at_goes(run_id: str) -> None:
    with Travelling().hold(run_id):
        late = lifecycle.begin_run("gru-s1", TAGS)
        with pytest.raises(HeldError, match="at the same time"), Travelling().hold(late):
            pass
    assert store.get_run(late).is_deleted


def test_leases_are_no_parameters(run_id: str) -> None:
    with Travelling().hold(run_id):
        assert {} == store.get_run(run_id).params
        assert [1] == list(store.get_run(run_id).leases)


def test_a_run_is_asked_for_where_its_checkpoint_is(run_id: str, tmp_path: Path) -> None:
    here, on_server = Checkpoints(tmp_path), store.get_run(run_id)
    on_disk = replace(on_server, tags={schema.CHECKPOINT: "0" * 32})

    assert here is place_of(on_disk, here)
    assert isinstance(place_of(on_server, here), Travelling)
    assert place_of(on_disk, Travelling()) is None  # another machine's disk
