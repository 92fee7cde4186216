"""Files of a run that come and go while it is under way, in the tracking server's artifact store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.tracking import schema
from pipeline.tracking.connection import client, explained, patiently

_PROBLEM = "The artifact store of the tracking server did not {} a file of run {}: why, the server's log says"


def write(run_id: str, path: str, content: bytes) -> None:
    """Write a file of a run, in place of what stood there.

    Raises:
        TrackingError: the store refuses it.
    """
    name = Path(path)
    with _folder() as folder, explained(_PROBLEM.format("take", run_id)):
        file = folder / name.name
        file.write_bytes(content)
        client().log_artifact(run_id, str(file), str(name.parent))


def read(run_id: str, folder: str) -> Iterator[bytes]:
    """Yield the content of each file in a folder of a run; nothing where there is no folder.

    Raises:
        TrackingError: the store does not give one.
    """
    with explained(_PROBLEM.format("give", run_id)):
        paths = [entry.path for entry in client().list_artifacts(run_id, folder)]
    for path in paths:
        with _folder() as place, explained(_PROBLEM.format("give", run_id)):
            yield fetch(run_id, path, place).read_bytes()


def fetch(run_id: str, path: str, folder: Path) -> Path:
    """Bring a file of a run into a folder of this machine; return where it is.

    MLflow's client would not say why it could not, so that nobody knew whether to wait for the server.
    """
    repository = get_artifact_repository(client().get_run(run_id).info.artifact_uri)
    return Path(patiently(repository.download_artifacts, path, str(folder)))


def size(run_id: str, folder: str) -> int:
    """Return how many bytes the files in a folder of a run take."""
    with explained(_PROBLEM.format("list", run_id)):
        return sum(entry.file_size or 0 for entry in client().list_artifacts(run_id, folder))


def remove(run_id: str, path: str) -> None:
    """Remove a file of a run, or a folder with its files, if it is there.

    Raises:
        TrackingError: the store refuses it.
    """
    with explained(_PROBLEM.format("remove", run_id)):
        patiently(get_artifact_repository(client().get_run(run_id).info.artifact_uri).delete_artifacts, path)


def mark_removed(run_id: str) -> None:
    """Say on a run that its checkpoint is gone, which spares others to look for files; a deleted run takes no tag."""
    with suppress(MlflowException):
        client().set_tag(run_id, schema.CHECKPOINT, schema.REMOVED)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
