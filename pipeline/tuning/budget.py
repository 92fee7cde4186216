"""The limits of a search, and checks before anything is trained."""

from dataclasses import dataclass

from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.execution import default_workers, planning
from pipeline.model import memory
from pipeline.progress import duration
from pipeline.training import fingerprints
from pipeline.tuning.ranges import MOST_SEEDS, MOST_TRIALS, TRIALS
from pipeline.tuning.space import Space


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
        """Check the numbers.

        Raises:
            UsageError: a number is out of range.
        """
        bounds = {"trials": (1, MOST_TRIALS), "seconds": (1, None), "confirm": (0, MOST_SEEDS), "workers": (1, None)}
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value is not None and (value < least or (most is not None and value > most)):
                upper = f" and at most {most}" if most is not None else ""
                raise UsageError(f"{name}: expected at least {least}{upper}, received {value}.")

    @property
    def limit(self) -> int:
        """Largest number of trials."""
        return self.trials or (TRIALS if self.seconds is None else MOST_TRIALS)

    @property
    def count(self) -> int:
        """Number of trainings in parallel."""
        return self.workers or default_workers.at_once(self.limit)

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
    plan = planning.plan([space.base(cell) for cell in space.cells], data, count=count)
    known = [item.seconds for item in plan.items]
    if all(each is not None and each > seconds for each in known):
        least = min(each for each in known if each is not None)
        raise UsageError(
            f"seconds: expected enough for one trial to end, received {seconds}. Earlier runs like it took about "
            f"{duration(least)} on this machine. Allow more seconds, or fewer epochs."
        )
