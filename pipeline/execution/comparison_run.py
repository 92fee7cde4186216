"""The run of a comparison: opened, or gone on with where the same one was cut off."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.execution import grid
from pipeline.settings import Settings
from pipeline.tracking import children, lifecycle, lineage, schema, store
from pipeline.training import fingerprints, naming, resuming
from pipeline.training.checkpoints import Place


@contextmanager
def opened(trainings: Sequence[Settings], data: DataSet, place: Place) -> Iterator[str]:
    """Open the run of a comparison, or continue that of the same one which was cut off; yield its id.

    Args:
        trainings: the parameters of each.
        data: what all of them are trained on.
        place: of checkpoints.

    Raises:
        UsageError: two of them are the same training, as the parameters apply to the data.
    """
    parameters = grid.shared([fingerprints.parameters(settings, data) for settings in trainings])
    name = naming.comparison(trainings, data.name)
    own = digests.of_texts(*(fingerprints.of(settings, data) for settings in trainings))
    with opened_as(schema.COMPARED, name, own, data, parameters, place=place) as run_id:
        yield run_id


@contextmanager
def opened_as(
    kind: str, name: str, fingerprint: str, data: DataSet, parameters: Mapping[str, object], *, place: Place
) -> Iterator[str]:
    """Open the run that trainings belong to, of whichever kind, or continue that with the same fingerprint."""
    # In a project's run `mlflow run` has opened one for us.
    known = None if lifecycle.in_project_run() else resuming.cut_off(fingerprint, place)
    with resuming.open_run(name, place, data, kind=kind, fingerprint=fingerprint, resume=known) as (run_id, _):
        run = store.get_run(run_id)
        store.log_parameters(run, parameters)
        children.mark(run_id, run_id)
        lineage.log_inputs(run, data)
        yield run_id
