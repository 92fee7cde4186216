"""Checkpoints that travel with their runs, for trainings on machines that share no disk.

    <the run's artifacts>/checkpoint/<lease>-0.npz, <lease>-1.npz

A checkpoint is a file of its run in the tracking server's artifact store, so it goes where the run can be reached, and
nobody configures another place. Two names take turns, and each file begins with the digest of the rest: whenever a
machine stops, one of the two is whole. The number of the lease is in the name, so that an attempt that was given up and
still lives writes over nothing. Who is at a run is asked of its lease: see :mod:`pipeline.tracking.leases`. The name of
such a checkpoint is the id of its run.
"""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pipeline.errors import DataError
from pipeline.records import Snapshot
from pipeline.tracking import leases, lifecycle, schema, store
from pipeline.tracking.leases import Driver, Lease
from pipeline.tracking.schema import TrackedRun
from pipeline.training.checkpoints import HeldError, Place, decode, encode

FOLDER = "checkpoint"

_NAME = re.compile(r"[0-9a-f]{32}")


class Travelling:
    """The checkpoints of the tracking server, by the ids of their runs; as :class:`Checkpoints` for one machine.

    Args:
        driver: whose heartbeat shows that this process is at its runs; None: it beats itself.
        job: that it does for the driver.
    """

    travels = True

    def __init__(self, driver: Driver | None = None, job: str = "") -> None:
        self._driver, self._job = driver, job
        self._held: dict[str, Lease] = {}

    @property
    def driver(self) -> Driver:
        """What the heartbeat of this process is on: the run that it holds."""
        ((run_id, lease),) = self._held.items()
        return Driver(run_id, lease.number)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Take a run, and hold it against other processes.

        Raises:
            HeldError: another process holds it, or was faster.
            TrackingError: there is no such run.
        """
        run = self._run(name)
        if self.is_held(name) and run.leases:
            raise HeldError(f"resume: expected a run that was cut off, but another process is at run {run.run_id}.")
        self._held[name] = lease = self._taken(run)
        try:
            with leases.beating(name, lease) if self._driver is None else nullcontext():
                yield
        finally:
            del self._held[name]

    def _taken(self, run: TrackedRun) -> Lease:
        """Take the lease of a run; of a new training also those of all that were made at the same time for it."""
        contested = not run.leases and run.tags.get(schema.KIND) == schema.TRAINING
        rivals = leases.rivals(run) if contested else [run]
        taken = self._all_of(rivals, run.run_id) if rivals else None
        if not rivals or not taken:
            if contested:
                leases.discard(run)
            raise HeldError(f"Another process has begun the training of run {run.run_id} at the same time.")
        for rival in rivals:
            if rival.run_id in taken.keys() - {run.run_id}:
                leases.discard(rival)
        return taken[run.run_id]

    def _all_of(self, rivals: Sequence[TrackedRun], own: str) -> dict[str, Lease] | None:
        """Take runs, and return the leases; None if another was faster.

        One that was deleted meanwhile is passed over: who made it was not the first either.
        """
        taken = {}
        for rival in rivals:
            lease = leases.take(rival, self._driver, self._job)
            if lease:
                taken[rival.run_id] = lease
            elif rival.run_id == own or not store.get_run(rival.run_id).is_deleted:
                return None
        return taken

    def alone(self) -> AbstractContextManager[None]:
        """Begin to look for twins: who makes a run at the same time is found out when it is taken."""
        return nullcontext()

    def is_held(self, name: str) -> bool:
        """Return whether a process is at the training, other than an attempt at this very job that was lost."""
        run = self._run(name)
        lease = leases.latest(run)
        own = lease is not None and self._driver is not None and (lease.driver, lease.job) == (self._driver, self._job)
        return not own and leases.is_held(run)

    def exists(self, name: str) -> bool:
        """Return whether the training was begun: the run is there."""
        return bool(_NAME.fullmatch(name))

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint beside the one before.

        Raises:
            TakenError: another process has taken the training over.
            TrackingError: the artifact store refuses it.
        """
        lease, buffer = self._held[name], io.BytesIO()
        encode(snapshot, buffer)
        content = buffer.getvalue()
        turn = len(snapshot.history) % 2
        digest = hashlib.sha256(content).hexdigest().encode()
        path = f"{FOLDER}/{lease.number}-{turn}.npz"
        store.write_file(name, path, digest + content)
        if not self.keeps(name):  # asked last: what follows is logged
            store.remove_files(name, path)
            raise lifecycle.TakenError(name)

    def keeps(self, name: str) -> bool:
        """Return whether the lease of this process is still the one that counts."""
        return leases.is_current(name, self._held[name])

    def load(self, name: str) -> Snapshot | None:
        """Return the checkpoint after the latest epoch; None if no epoch was finished.

        Raises:
            DataError: there are files, and none of them is whole.
        """
        contents = list(store.read_files(self._run(name).run_id, FOLDER))
        found = [snapshot for content in contents if (snapshot := _whole(content))]
        if contents and not found:
            raise DataError(f"run {name}: expected a whole checkpoint in its folder {FOLDER}, found none. Train anew.")
        return max(found, key=lambda snapshot: len(snapshot.history), default=None)

    def remove(self, name: str) -> None:
        """Remove a checkpoint: its training has ended."""
        store.remove_files(name, FOLDER)
        store.mark_checkpoint_removed(name)

    def _run(self, name: str) -> TrackedRun:
        if not _NAME.fullmatch(name):
            raise DataError(f"checkpoint: expected the id of a run, received {name!r}.")
        return store.get_run(name)


def _whole(content: bytes) -> Snapshot | None:
    digest, arrays = content[:64], content[64:]
    if hashlib.sha256(arrays).hexdigest().encode() != digest:
        return None
    return decode(io.BytesIO(arrays))


def place_of(run: TrackedRun, here: Place) -> Place | None:
    """Return where the checkpoint of a run is kept, as seen from ``here``; None if it cannot be reached from there."""
    if run.travels:
        return here if here.travels else Travelling()
    return None if here.travels else here
