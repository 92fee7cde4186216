"""The file format of a checkpoint: one NumPy archive without pickle."""

import json
from dataclasses import asdict
from typing import BinaryIO

import numpy as np

from pipeline.records import EpochRecord, Snapshot


def encode(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write a snapshot into a file."""
    log = {"history": [asdict(record) for record in snapshot.history], "seconds": snapshot.seconds}
    arrays = {f"state_{number:04}": array for number, array in enumerate(snapshot.state)}
    arrays |= {f"weight_{number:04}": array for number, array in enumerate(snapshot.best_weights)}
    np.savez(file, log=np.frombuffer(json.dumps(log).encode(), np.uint8), **arrays)  # type: ignore[arg-type]


def decode(file: BinaryIO) -> Snapshot:
    """Read a snapshot that :func:`encode` has written; NumPy's and JSON's errors pass through if it is damaged."""
    with np.load(file) as arrays:
        log = json.loads(arrays["log"].tobytes())
        return Snapshot(
            history=[EpochRecord(**record) for record in log["history"]],
            state=[arrays[name] for name in sorted(arrays) if name.startswith("state_")],
            best_weights=[arrays[name] for name in sorted(arrays) if name.startswith("weight_")],
            seconds=log["seconds"],
        )
