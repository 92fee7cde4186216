"""The run of a comparison: opened, or gone on with where the same one was cut off."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipeline import digests
from pipeline.data.processed import DataSet
from pipeline.jobs import fingerprints, resumable
from pipeline.jobs.checkpoints import Checkpoints
from pipeline.jobs.resumable import State
from pipeline.settings import Settings
from pipeline.tracking import runs, store
from pipeline.tracking.runs import TrackedRun


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
    place = Checkpoints(grid[0].data_dir)
    with resumable.open_run(name, place, fingerprint=own, resume=_cut_off(own, place)) as (run_id, _):
        store.log_tags(run_id, {runs.DATASET: data.name, runs.DATASET_DIGEST: data.digest})
        store.log_parameters(run_id, parameters)
        store.add_to_comparison(run_id, run_id)
        yield run_id


def _cut_off(fingerprint: str, place: Checkpoints) -> TrackedRun | None:
    """Return the same comparison's run that was cut off, to go on with."""
    if store.in_project_run():
        return None  # `mlflow run` has opened one for us
    twin = resumable.find_twin(fingerprint, place)
    return twin.run if twin and twin.state is State.CUT_OFF else None
