"""The trials of a search: what was chosen for each, and what it has reached on validation, epoch by epoch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pipeline import records
from pipeline.tracking import schema, store
from pipeline.tuning.space import Parameters

State = Literal["complete", "pruned", "failed", "running"]


class Reached(NamedTuple):
    """What a trial has reached on validation after an epoch: cost in nats, accuracy as a fraction."""

    epoch: int
    val_cost: float
    val_accuracy: float


@dataclass(kw_only=True)
class Trial:
    """A trial.

    Attributes:
        number: from 1.
        parameters: that were chosen for it.
        state: "running" includes interrupted ones.
        history: an entry per epoch.
        run_id: of its MLflow run; empty if none was opened yet.
        reason: why it failed.
        reused: whether it was trained outside this search.
    """

    number: int
    parameters: Parameters
    state: State = "running"
    history: list[Reached] = field(default_factory=list)
    run_id: str = ""
    reason: str = ""
    reused: bool = False

    @property
    def name(self) -> str:
        """Name of its run, such as ``gru-t7``."""
        return f"{self.parameters['cell']}-t{self.number}"

    @property
    def kept(self) -> Reached:
        """The epoch whose weights are kept."""
        return records.kept(self.history)

    @property
    def value(self) -> float:
        """The best accuracy that it has reached."""
        return self.kept.val_accuracy

    def best_until(self, epoch: int) -> float:
        """Return the best accuracy up to an epoch."""
        return max(each.val_accuracy for each in self.history if each.epoch <= epoch)


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the best of the complete trials, by the rule that also decides which epoch is kept."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        return None
    kept = records.kept([trial.kept for trial in complete])
    return next(trial for trial in complete if trial.kept == kept)


def log(search: str, trial: Trial) -> None:
    """Write a trial whose run is open into a tag of the search's run, so that it is found again."""
    content = {"run_id": trial.run_id, "reused": trial.reused, "parameters": dict(trial.parameters)}
    store.log_tags(search, {f"{schema.TRIAL}{trial.number}": json.dumps(content)})


def logged(trials: Mapping[int, Mapping[str, object]]) -> dict[int, Trial]:
    """Return the trials of an interrupted search, each with its run's history, by number."""
    found = {number: Trial(number=number, **content) for number, content in sorted(trials.items())}  # type: ignore[arg-type]
    for trial in found.values():
        refresh(trial)
    return found


def refresh(trial: Trial) -> None:
    """Read the state and history of a trial from its run."""
    run = store.get_run(trial.run_id)
    if run.status == "FINISHED" and (run.is_pruned or run.is_trained):
        trial.state = "pruned" if run.is_pruned else "complete"
    accuracies, costs = (store.history_of(run.run_id, metric) for metric in (schema.VAL_ACCURACY, schema.VAL_COST))
    trial.history = [Reached(epoch, costs[epoch], accuracies[epoch]) for epoch in sorted(accuracies)]
