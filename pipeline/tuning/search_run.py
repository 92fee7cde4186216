"""The run of a search: opened, or gone on with where the same one was cut off."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.execution import comparison_run
from pipeline.tracking import schema
from pipeline.training import fingerprints, naming
from pipeline.tuning.budget import Budget
from pipeline.tuning.space import Space


@contextmanager
def opened(space: Space, data: DataSet, budget: Budget, *, remote: bool) -> Iterator[str]:
    """Open the run of a search, or continue that of the same one which was cut off; yield its id.

    Searches are the same that choose from the same values around the same start; one goes on with another budget, too.
    """
    bases = [fingerprints.of(space.base(cell), data) for cell in space.cells]
    texts = [f"{cell} {name}={each}" for cell in space.cells for name, each in space.ranges[cell].items()]
    own = digests.of_texts("search", *bases, *texts)
    name = naming.search(space.cells, data.name, space.base().recipe)
    parameters, data_dir = _parameters(space, data, budget), space.base().data_dir
    with comparison_run.opened_as(
        schema.SEARCHED, name, own, data, parameters, data_dir=data_dir, remote=remote
    ) as run_id:
        yield run_id


def _parameters(space: Space, data: DataSet, budget: Budget) -> dict[str, object]:
    """Return what the run logs: of what is searched the ranges, of all else the values, and the budget."""
    shared = fingerprints.parameters(space.base(), data)
    ranges = {name: space.text(name) for name in space.names}
    limits = {"trials": budget.limit, "seconds": budget.seconds, "confirm": budget.confirm}
    return shared | ranges | {name: value for name, value in limits.items() if value is not None}
