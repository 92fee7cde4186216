"""Jobs in real processes: what only processes of this machine do; the rest is in ``test_crews.py``."""

import multiprocessing
import os
import signal
import sys
from typing import Any

import pytest

from pipeline.execution import worker_pool
from pipeline.execution.worker_pool import Failed, Finished, Send

of_posix = pytest.mark.skipif(sys.platform == "win32", reason="on Windows no process ends by a signal")


def work(job: tuple[str, Any], send: Send) -> object:
    """Do what a job names; a function of a module, as the processes need it."""
    what, value = job
    if what == "has":
        return value in sys.modules
    if what == "die":
        os.kill(os.getpid(), value)
    return os.getpid()


def test_processes_that_were_started_early_take_the_jobs_and_the_others_end() -> None:
    with worker_pool.early(2, "wave"):
        early = {process.pid for process in multiprocessing.active_children()}
        events = list(worker_pool.run(work, [("who", 0), ("has", "wave")], count=1))

    (doer, has_wave) = (event.result for event in events if isinstance(event, Finished))
    assert 2 == len(early)
    assert doer in early
    assert has_wave is True
    assert not early & {process.pid for process in multiprocessing.active_children()}


@of_posix
def test_a_process_that_is_killed_fails_its_job_alone() -> None:
    die = ("die", int(signal.SIGKILL))
    events = list(worker_pool.run(work, [die, ("who", 0)], count=1))

    assert Failed(die, "Its process ended by SIGKILL.") in events
    assert [("who", 0)] == [event.job for event in events if isinstance(event, Finished)]


def test_a_process_gives_way_to_another_when_it_has_done_its_share() -> None:
    events = worker_pool.run(work, [("who", 0)] * (worker_pool.JOBS_EACH + 2), count=1)

    doers = [event.result for event in events if isinstance(event, Finished)]
    assert [worker_pool.JOBS_EACH, 2] == [doers.count(doer) for doer in dict.fromkeys(doers)]


@pytest.mark.parametrize(("code", "said"), [(3, "with exit code 3"), pytest.param(-9, "by SIGKILL", marks=of_posix)])
def test_how_a_process_ended_in_words(code: int, said: str) -> None:
    assert said == worker_pool._how(code)
