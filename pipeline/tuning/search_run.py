"""The run of a search: its limits, the checks before anything is trained, and the MLflow run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.execution import comparison_run, planning, worker_pool
from pipeline.model import memory
from pipeline.progress import duration
from pipeline.tracking import schema
from pipeline.training import fingerprints, naming
from pipeline.tuning.space import MOST_SEEDS, MOST_TRIALS, TRIALS, Space, range_text


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of a search.

    Attributes:
        trials: largest number of trials; None: as many as the time allows.
        seconds: time in which trials may start; None: no limit.
        confirm: number of new seeds that the winner and the start are trained with.
        workers: number of trainings in parallel; None: as many as the machine takes.
    """

    trials: int | None = None
    seconds: int | None = None
    confirm: int = 3
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            UsageError: a number is out of range.
        """
        for name, value, most in (("trials", self.trials, MOST_TRIALS), ("confirm", self.confirm, MOST_SEEDS)):
            if value is not None and value > most:
                raise UsageError(f"{name}: expected at most {most}, received {value}.")

    @property
    def limit(self) -> int:
        """Largest number of trials."""
        return self.trials or (TRIALS if self.seconds is None else MOST_TRIALS)

    @property
    def count(self) -> int:
        """Number of trainings in parallel."""
        return self.workers or worker_pool.default_workers(self.limit)

    def seeds(self, seed: int) -> list[int]:
        """Return the seeds of the confirmation; no trial has them."""
        return list(range(seed + 1, seed + 1 + self.confirm))


def check(space: Space, data: DataSet, budget: Budget) -> None:
    """Check that all of the search space fits the data and the memory, and that a trial can end in time.

    Raises:
        UsageError: it does not, or a trial cannot.
    """
    for corner in space.corners():
        settings = space.settings(corner)
        fingerprints.parameters(settings, data)
        memory.check(settings, data)
    for seed in budget.seeds(space.base().seed)[-1:]:
        space.settings({"seed": seed})
    if budget.seconds is not None:
        _check_seconds(space, data, budget.seconds, budget.count)


def _check_seconds(space: Space, data: DataSet, seconds: int, count: int) -> None:
    """Check that a trial can end in time, as far as earlier runs show how long it takes."""
    items = planning.plan([space.base(cell) for cell in space.cells], data, count=count)
    known = [item.seconds for item in items]
    if all(each is not None and each > seconds for each in known):
        least = min(each for each in known if each is not None)
        raise UsageError(
            f"seconds: expected enough for one trial to end, received {seconds}. Earlier runs like it took about "
            f"{duration(least)} on this machine. Allow more seconds, or fewer epochs."
        )


@contextmanager
def opened(space: Space, data: DataSet, budget: Budget, *, remote: bool) -> Iterator[str]:
    """Open the run of a search, or that of the same search that was interrupted; yield its id.

    Searches are the same if their ranges and their start are; the limits may differ.
    """
    bases = [fingerprints.of(space.base(cell), data) for cell in space.cells]
    texts = [f"{cell} {name}={range_text(of)}" for cell in space.cells for name, of in space.ranges[cell].items()]
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
