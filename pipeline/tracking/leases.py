"""Who is at a run, where machines share no disk: the run itself tells, so that nothing is trained twice at once.

A run is taken by a param of its own, ``lease.1``, later ``lease.2``, …: params are write-once, so of several that want
the next number the store lets one have it, and who has the highest is at the run. The text of a lease says whose
heartbeat shows that its holder is alive: the run of a comparison, which beats for all its trainings, or the run itself.
"""

import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from mlflow.exceptions import MlflowException

from pipeline.errors import PipelineError, TrackingError
from pipeline.tracking import schema, store
from pipeline.tracking.connection import client
from pipeline.tracking.schema import TrackedRun

SECONDS = "PIPELINE_LEASE_SECONDS"
"""The environment variable with the seconds after which a process that gives no sign of life is given up."""


def _fresh() -> float:
    try:
        return float(os.environ.get(SECONDS, "60"))
    except ValueError:
        return 60.0


FRESH = _fresh()
"""Seconds after its last heartbeat that a holder is taken to be alive; the clocks of machines differ by less."""

EVERY = FRESH / 6
"""Seconds between two heartbeats."""

LAST_BEAT = 2.0
"""Seconds that a heartbeat under way is waited for in the end: a server that is away keeps nobody."""

_TEXT = re.compile(r"([0-9a-f]{32}) (\d+) ([0-9a-f]{32}) (.*)")


class Driver(NamedTuple):
    """Who beats: the id of the run that its heartbeat is on, and the number of its lease of that run."""

    run_id: str
    number: int


class Lease(NamedTuple):
    """The hold on a run: its number, whose heartbeat keeps it, for which job, and a token that no other lease has."""

    number: int
    driver: Driver
    token: str
    job: str


def latest(run: TrackedRun) -> Lease | None:
    """Return the lease that counts; None of a run that nobody has taken yet."""
    if not run.leases:
        return None
    number = max(run.leases)
    parts = _TEXT.fullmatch(run.leases[number])
    if parts is None:
        raise TrackingError(
            f"{schema.LEASE}{number}: expected a lease of this pipeline on run {run.run_id}, received "
            f"{run.leases[number]!r}. Train anew."
        )
    return Lease(number, Driver(parts[1], int(parts[2])), parts[3], parts[4])


def take(run: TrackedRun, driver: Driver | None = None, job: str = "") -> Lease | None:
    """Take a run for a job of a driver, or for the process that calls; None if another was faster."""
    before = latest(run)
    number = before.number + 1 if before else 1
    lease = Lease(number, driver or Driver(run.run_id, number), uuid.uuid4().hex, job)
    text = f"{lease.driver.run_id} {lease.driver.number} {lease.token} {job}"
    with suppress(MlflowException):  # it stands there already: the next line tells by whom
        client().log_param(run.run_id, f"{schema.LEASE}{number}", text)
    return lease if latest(store.get_run(run.run_id)) == lease else None


def is_current(run_id: str, lease: Lease) -> bool:
    """Return whether a lease is still the one that counts."""
    return latest(store.get_run(run_id)) == lease


def is_held(run: TrackedRun) -> bool:
    """Return whether somebody who is alive is at a run."""
    if run.status != "RUNNING":
        return False
    lease = latest(run)
    if lease is None:  # made, and about to be taken
        return _is_fresh(run.started / 1_000)
    beating = run if lease.driver.run_id == run.run_id else store.find_run(lease.driver.run_id)
    if beating is None:
        return False
    current = latest(beating)
    holds = current is not None and current.number == lease.driver.number
    return holds and beating.status == "RUNNING" and _is_fresh(beat_of(beating))


@contextmanager
def beating(run_id: str, lease: Lease) -> Iterator[None]:
    """Show until the block ends that the holder of a run is alive, whatever it is busy with; not after a take-over."""
    over = threading.Event()

    def keep_on() -> None:
        while not over.wait(EVERY):
            with suppress(PipelineError, MlflowException, OSError):  # whoever works notices that as well, and says so
                if not is_current(run_id, lease):
                    return
                beat(run_id)

    beat(run_id)
    thread = threading.Thread(target=keep_on, name=run_id, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(LAST_BEAT)


def beat(run_id: str) -> None:
    """Show that the holder of a run is alive."""
    client().set_tag(run_id, schema.BEAT, str(time.time()))


def beat_of(run: TrackedRun) -> float:
    """Return when the holder of a run was last alive, in seconds since 1970."""
    try:
        return float(run.tags.get(schema.BEAT, 0.0))
    except ValueError:
        return 0.0


def _is_fresh(beat: float) -> bool:
    return time.time() - beat < FRESH


def rivals(run: TrackedRun) -> list[TrackedRun] | None:
    """Return the runs of the same training that were made and are not taken yet, this one among them, in one order.

    None: one of them was taken before, and somebody is at it.

    Who wants to begin takes all of these in this order, and begins if none was taken by another; who finds one taken
    deletes the own, which the others then pass over. So of several that made a run each at the same time one begins:
    the later of two to look sees both, and one of them gets the first.
    """
    found = store.find_runs(f"tags.{schema.FINGERPRINT} = '{run.tags.get(schema.FINGERPRINT, '')}'")
    others = [each for each in found if each.run_id != run.run_id and is_held(each)]
    if any(each.leases for each in others):
        return None
    return sorted([run, *others], key=lambda each: each.run_id)


def discard(run: TrackedRun) -> None:
    """Delete a run that was made and is not needed; another process may just have done it."""
    with suppress(MlflowException):
        client().delete_run(run.run_id)
