"""The MLflow run of a search: a new one, or that of the same search that was interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.execution import comparison_run
from pipeline.tracking import schema
from pipeline.training import fingerprints, naming
from pipeline.tuning import ranges
from pipeline.tuning.budget import Budget
from pipeline.tuning.space import Space


@contextmanager
def opened(space: Space, data: DataSet, budget: Budget, *, remote: bool) -> Iterator[str]:
    """Open the run of a search, or that of the same search that was interrupted; yield its id.

    Searches are the same if their ranges and their start are; the limits may differ.
    """
    bases = [fingerprints.of(space.base(cell), data) for cell in space.cells]
    texts = [f"{cell} {name}={ranges.text(of)}" for cell in space.cells for name, of in space.ranges[cell].items()]
    own = digests.of_texts("search", *bases, *texts)
    name = naming.search(space.cells, data.name, space.base().recipe)
    parameters, data_dir = _parameters(space, data, budget), space.base().data_dir
    with comparison_run.opened_as(
        schema.SEARCHED, name, own, data, parameters, data_dir=data_dir, remote=remote
    ) as run_id:
        yield run_id


def _parameters(space: Space, data: DataSet, budget: Budget) -> dict[str, object]:
    """Return the params of the run: ranges, values of all other parameters, and limits."""
    shared = fingerprints.parameters(space.base(), data)
    searched = {name: space.text(name) for name in space.names}
    limits = {"trials": budget.limit, "seconds": budget.seconds, "confirm": budget.confirm}
    return shared | searched | {name: value for name, value in limits.items() if value is not None}
