"""Checkpoints as artifacts of their runs, for machines without a shared disk.

    <the run's artifacts>/checkpoint/<attempt>-0.npz, <attempt>-1.npz

The name of such a checkpoint is the id of its run. Two files take turns, and each begins with the digest of the rest:
whenever a machine stops, one of the two is whole. Each process that trains writes files of its own: one whose machine
was given up, and that still lives, overwrites nothing.
"""

import hashlib
import io
import uuid

from pipeline.errors import DataError
from pipeline.records import Snapshot
from pipeline.tracking import store
from pipeline.training.snapshots import decode, encode

FOLDER = "checkpoint"


class RemoteCheckpoints:
    """Checkpoints in the tracking server's artifact store, by the ids of their runs."""

    def __init__(self) -> None:
        self._attempt = uuid.uuid4().hex[:8]

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Write a checkpoint over the last but one.

        Raises:
            TrackingError: the artifact store refuses it.
        """
        buffer = io.BytesIO()
        encode(snapshot, buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest().encode()
        path = f"{FOLDER}/{self._attempt}-{len(snapshot.history) % 2}.npz"
        store.write_file(name, path, digest + content)

    def load(self, name: str) -> Snapshot | None:
        """Return the checkpoint of the last epoch; None if no epoch has finished.

        Raises:
            DataError: there are files, and none of them is whole.
        """
        contents = list(store.read_files(name, FOLDER))
        found = [snapshot for content in contents if (snapshot := _whole(content))]
        if contents and not found:
            raise DataError(f"run {name}: expected a whole checkpoint in its folder {FOLDER}, found none. Train again.")
        return max(found, key=lambda snapshot: len(snapshot.history), default=None)

    def size(self, name: str) -> int:
        """Return the size of a run's checkpoints in bytes."""
        return sum(store.files_in(name, FOLDER).values())

    def remove(self, name: str) -> None:
        """Remove a checkpoint: its run has finished."""
        store.remove_checkpoint(name, FOLDER)


def _whole(content: bytes) -> Snapshot | None:
    digest, arrays = content[:64], content[64:]
    if hashlib.sha256(arrays).hexdigest().encode() != digest:
        return None
    return decode(io.BytesIO(arrays))
