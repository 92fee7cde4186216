"""The run of a comparison: opened, or gone on with where the same one was cut off."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.jobs import fingerprints, resumable
from pipeline.jobs.checkpoints import Checkpoints
from pipeline.settings import Settings
from pipeline.tracking import origin, runs, store


@contextmanager
def opened(name: str, grid: Sequence[Settings], data: DataSet, parameters: Mapping[str, object]) -> Iterator[str]:
    """Open the run of a comparison, or continue that of the same one which was cut off; yield its id.

    Args:
        name: of the run.
        grid: the parameters of each training.
        data: what all of them are trained on.
        parameters: of the comparison, to be logged.
    """
    own = digests.of_texts(*(fingerprints.of(settings, data) for settings in grid))
    with opened_as(runs.COMPARED, name, own, data, parameters, place=Checkpoints(grid[0].data_dir)) as run_id:
        yield run_id


@contextmanager
def opened_as(
    kind: str, name: str, fingerprint: str, data: DataSet, parameters: Mapping[str, object], *, place: Checkpoints
) -> Iterator[str]:
    """Open the run that trainings belong to, of whichever kind, or continue that with the same fingerprint."""
    # In a project's run `mlflow run` has opened one for us.
    known = None if store.in_project_run() else resumable.cut_off(fingerprint, place)
    with resumable.open_run(name, place, data, kind=kind, fingerprint=fingerprint, resume=known) as (run_id, _):
        store.log_parameters(run_id, parameters)
        store.add_to_comparison(run_id, run_id)
        origin.log_inputs(run_id, data)
        yield run_id
