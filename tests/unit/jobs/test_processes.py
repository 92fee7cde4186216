"""Jobs in real processes: their results, their failures, their deaths, and how they are stopped."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.jobs import processes
from pipeline.jobs.processes import Event, Failed, Finished, Said, Send, Started
from tests.patience import scaled

of_posix = pytest.mark.skipif(sys.platform == "win32", reason="on Windows no process ends by a signal")


def work(job: tuple[str, object], send: Send) -> object:
    """Do what a job names; a function of a module, as the processes need it."""
    what, value = job
    if what == "square":
        send(f"squaring {value}")
        return int(str(value)) ** 2
    if what == "who":
        return os.getpid()
    if what == "has":
        return value in sys.modules
    if what == "fail":
        raise DataError(str(value))
    if what == "bug":
        raise ZeroDivisionError(value)
    if what == "die":
        os.kill(os.getpid(), int(str(value)))
    if what == "meet":  # waits for another job to be there at the same time
        folder = Path(str(value))
        (folder / str(os.getpid())).touch()
        deadline = time.monotonic() + scaled(60)
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(list(folder.iterdir()))
    if what == "wait":
        try:
            send("waits")
            time.sleep(60)
        except KeyboardInterrupt:
            Path(str(value)).write_text("tidied up")
            raise
    return None


def happened(jobs: list[tuple[str, object]], count: int) -> list[Event]:
    return [event for event in processes.run(work, jobs, count=count) if not isinstance(event, processes.Waited)]


def test_a_job_starts_speaks_and_ends_in_this_order() -> None:
    events = happened([("square", 3), ("square", 4)], 1)

    assert [
        Started(("square", 3)),
        Said(("square", 3), "squaring 3"),
        Finished(("square", 3), 9),
        Started(("square", 4)),
        Said(("square", 4), "squaring 4"),
        Finished(("square", 4), 16),
    ] == events


def test_as_many_run_at_once_as_asked_for(tmp_path: Path) -> None:
    events = happened([("meet", tmp_path), ("meet", tmp_path)], 2)

    assert [Finished(("meet", tmp_path), 2)] * 2 == [event for event in events if isinstance(event, Finished)]


def test_what_fails_fails_alone_with_its_reason() -> None:
    events = happened([("fail", "no such file"), ("bug", "1 / 0"), ("square", 5)], 1)

    failed = [event for event in events if isinstance(event, Failed)]
    assert Failed(("fail", "no such file"), "no such file") == failed[0]
    assert failed[1].reason.startswith("Traceback")
    assert failed[1].reason.endswith("ZeroDivisionError: 1 / 0")
    assert Finished(("square", 5), 25) in events


def test_processes_that_were_started_early_take_the_jobs_and_the_others_end() -> None:
    with processes.early(2, "wave"):
        early = {process.pid for process in multiprocessing.active_children()}
        events = happened([("who", None), ("has", "wave")], 1)

    (doer, has_wave) = (event.result for event in events if isinstance(event, Finished))
    assert 2 == len(early)
    assert doer in early
    assert has_wave is True
    assert not early & {process.pid for process in multiprocessing.active_children()}


@of_posix
def test_a_process_that_dies_fails_its_job_alone() -> None:
    events = happened([("die", signal.SIGKILL), ("square", 6)], 1)

    assert Failed(("die", signal.SIGKILL), "Its process ended by SIGKILL.") in events
    assert Finished(("square", 6), 36) in events


def test_a_process_gives_way_to_another_when_it_has_done_its_share() -> None:
    events = happened([("who", None)] * (processes.JOBS_EACH + 2), 1)

    doers = [event.result for event in events if isinstance(event, Finished)]
    assert [processes.JOBS_EACH, 2] == [doers.count(doer) for doer in dict.fromkeys(doers)]


def test_stopping_interrupts_jobs_and_waits_until_they_have_tidied_up(tmp_path: Path) -> None:
    note = tmp_path / "note"
    job = ("wait", note)
    with closing(processes.run(work, [job, job], count=1)) as events:
        assert Started(job) == next(events)
        assert any(event == Said(job, "waits") for event in events)

    assert "tidied up" == note.read_text()


def test_a_job_is_taken_when_a_process_is_free_for_it_and_what_came_before_is_known() -> None:
    """A search asks for its next trial when it knows what the last one gave."""
    results: list[int] = []

    def jobs() -> Iterator[tuple[str, object]]:
        yield ("square", 2)
        while results[-1] < 200:
            yield ("square", results[-1])

    for event in processes.run(work, jobs(), count=1):
        if isinstance(event, Finished):
            results.append(event.result)

    assert [4, 16, 256] == results


def test_there_may_be_nothing_to_do() -> None:
    assert [] == happened([], 2)


@pytest.mark.parametrize(("code", "said"), [(3, "with exit code 3"), pytest.param(-9, "by SIGKILL", marks=of_posix)])
def test_how_a_process_ended_in_words(code: int, said: str) -> None:
    assert said == processes._how(code)
