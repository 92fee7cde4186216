"""The trials of a search: what was chosen for each, and what it has reached on validation, epoch by epoch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.tracking import schema, store
from pipeline.tuning.space import Parameters

State = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial.

    Attributes:
        number: from 1 on.
        parameters: that were chosen for it.
        state: running is also one that was cut off.
        accuracies: on validation, by epoch, fractions of 1.
        costs: on validation, by epoch, in nats.
        run_id: of its MLflow run; empty where none was opened yet.
        reason: why it failed.
        taken_over: whether it was trained outside of this search.
    """

    number: int
    parameters: Parameters
    state: State = "running"
    accuracies: Mapping[int, float] = field(default_factory=dict)
    costs: Mapping[int, float] = field(default_factory=dict)
    run_id: str = ""
    reason: str = ""
    taken_over: bool = False

    @property
    def name(self) -> str:
        """Of its run, such as ``gru-t7``."""
        return f"{self.parameters['cell']}-t{self.number}"

    @property
    def epochs(self) -> int:
        """How many it has had."""
        return len(self.accuracies)

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are kept, by the rule of :func:`pipeline.records.kept`."""
        return min(self.accuracies, key=lambda epoch: (-self.accuracies[epoch], self.costs[epoch], epoch))

    @property
    def value(self) -> float:
        """The best accuracy that it has reached."""
        return max(self.accuracies.values())


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the best of the complete ones; among equals the one of the lower cost, then the first."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return min(complete, key=lambda each: (-each.value, each.costs[each.kept_epoch], each.number), default=None)


def epochs_saved(trials: Sequence[Trial], epochs: int) -> float:
    """Return the part of the epochs that pruning has saved, of trials that were not taken over."""
    trained = [trial for trial in trials if trial.state in ("complete", "pruned")]
    saved = sum(epochs - trial.epochs for trial in trained if trial.state == "pruned")
    return saved / (epochs * len(trained)) if trained else 0.0


# --- as the run of a search keeps them ------------------------------------------------------------------------------


def keep(parent: str, trial: Trial) -> None:
    """Let the run of a search know of a trial whose run is open, so that it is found again."""
    content = {"run_id": trial.run_id, "taken_over": trial.taken_over, "parameters": dict(trial.parameters)}
    store.log_tags(parent, {f"{schema.TRIAL}{trial.number}": json.dumps(content)})


def kept(parent: str) -> list[Trial]:
    """Return the trials of a search that was cut off, as far as each of them is, by their numbers."""
    found = store.get_run(parent).trials
    return [of_run(Trial(number=number, **content)) for number, content in sorted(found.items())]


def of_run(trial: Trial) -> Trial:
    """Return a trial as its run has it."""
    run = store.get_run(trial.run_id)
    state: State = "running"
    if run.status == "FINISHED" and (run.is_pruned or run.is_trained):
        state = "pruned" if run.is_pruned else "complete"
    accuracies, costs = (store.history_of(run.run_id, metric) for metric in (schema.VAL_ACCURACY, schema.VAL_COST))
    return Trial(
        number=trial.number,
        parameters=trial.parameters,
        state=state,
        accuracies=accuracies,
        costs=costs,
        run_id=trial.run_id,
        taken_over=trial.taken_over,
    )
