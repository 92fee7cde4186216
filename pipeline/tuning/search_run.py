"""The MLflow run of a search: its limits, and the checks before any trial is trained."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline import disk
from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.execution import comparison_run
from pipeline.model import preflight
from pipeline.tracking import schema
from pipeline.training import identity
from pipeline.tuning.space import Space, range_text

TRIALS = 30
"""The number of trials of a search that has neither a number nor a time limit."""

MOST_TRIALS, MOST_SEEDS = 200, 20
"""Limits of a search: MLflow does not take the ids of more trainings into one tag."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of a search.

    Attributes:
        trials: maximum number of trials; None: as many as the time allows.
        seconds: time limit for starting new trials; None: no limit.
        confirm: number of new seeds for the winner and the start.
        workers: number of runs in parallel; None: as many as the machine allows.
    """

    trials: int | None = None
    seconds: float | None = None
    confirm: int = 3
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            UsageError: a number is out of range.
        """
        for name, value, most in (("trials", self.limit, MOST_TRIALS), ("confirm", self.confirm, MOST_SEEDS)):
            if value > most:
                raise UsageError(f"{name}: expected at most {most}, received {value}.")

    @property
    def limit(self) -> int:
        """Maximum number of trials."""
        return self.trials or (TRIALS if self.seconds is None else MOST_TRIALS)

    def seeds(self, seed: int) -> list[int]:
        """Return the seeds of the confirmation; no trial has them."""
        return list(range(seed + 1, seed + 1 + self.confirm))


def check(space: Space, data: DataSet, budget: Budget) -> None:
    """Check that the whole search space fits the data and the memory.

    Raises:
        UsageError: it does not.
    """
    for corner in space.corners():
        settings = space.settings(corner)
        identity.parameters(settings, data)
        preflight.check_memory(settings, data)
    for seed in budget.seeds(space.base().seed)[-1:]:
        space.settings({"seed": seed})


def opened(space: Space, data: DataSet, budget: Budget, *, remote: bool) -> AbstractContextManager[str]:
    """Open the run of a search, or that of the same search that was interrupted; the context is its id.

    Searches are the same if their ranges and their start are; the limits may differ.
    """
    base, texts = space.base(), {name: range_text(each) for name, each in space.ranges.items()}
    bases = [identity.fingerprint(space.base(cell), data) for cell in space.cells]
    own = disk.text_digest("search", *bases, *(f"{name}={text}" for name, text in texts.items()))
    limits = {"trials": budget.limit, "seconds": budget.seconds, "confirm": budget.confirm}
    given = {name: value for name, value in limits.items() if value is not None}
    parameters = identity.parameters(base, data) | texts | given
    name = identity.search_name(space.cells, data.name, base.recipe)
    return comparison_run.opened_as(schema.SEARCHED, name, own, data, parameters, data_dir=base.data_dir, remote=remote)
