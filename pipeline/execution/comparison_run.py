"""Open the MLflow run of a comparison: a new one, or an interrupted one to resume."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.execution import grid
from pipeline.settings import Settings
from pipeline.tracking import lifecycle, schema, store
from pipeline.training import fingerprints, naming, resuming
from pipeline.training.checkpoints import open_store
from pipeline.training.locks import RunLocks
from pipeline.training.resuming import RunState


@contextmanager
def opened(trainings: Sequence[Settings], data: DataSet, *, remote: bool) -> Iterator[str]:
    """Open the run of a comparison, or resume that of the same one which was interrupted; yield its id.

    Args:
        trainings: the parameters of each.
        data: what all of them are trained on.
        remote: whether they are trained on a cluster.

    Raises:
        UsageError: two of them are the same training, as the parameters apply to the data.
    """
    parameters = grid.shared([fingerprints.parameters(settings, data) for settings in trainings])
    name = naming.comparison(trainings, data.name)
    own = digests.of_texts(*(fingerprints.of(settings, data) for settings in trainings))
    data_dir = trainings[0].data_dir
    with opened_as(schema.COMPARED, name, own, data, parameters, data_dir=data_dir, remote=remote) as run_id:
        yield run_id


@contextmanager
def opened_as(
    kind: str,
    name: str,
    fingerprint: str,
    data: DataSet,
    parameters: Mapping[str, object],
    *,
    data_dir: Path,
    remote: bool,
) -> Iterator[str]:
    """Open the parent run of trainings, of any kind, or resume an interrupted one with the same fingerprint."""
    known = None
    if not lifecycle.project_run():  # else `mlflow run` has opened one
        found = resuming.find_runs(fingerprint, data_dir, remote=remote)
        known = next((run for run, state in found if state is RunState.INTERRUPTED), None)
    checkpoint, tags = resuming.checkpoint_and_tags(kind, fingerprint, data, resume=known, remote=remote)
    with nullcontext() if remote else RunLocks(data_dir).hold(checkpoint):
        with lifecycle.open_run(name, tags, resume=known) as run:
            store.log_parameters(run, parameters)
            store.mark(run.run_id, run.run_id)
            lifecycle.log_inputs(run, data)
            yield run.run_id
        open_store(data_dir, remote=remote).remove(run.checkpoint)
