"""The result of a search, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from pipeline.comparison import pairwise_tests
from pipeline.comparison.formatting import count_of
from pipeline.comparison.grouping import Group, configuration
from pipeline.comparison.pairwise_tests import PairwiseTest
from pipeline.data.splits import DataSet
from pipeline.settings import DATA_PARAMETERS, Settings, command, shown
from pipeline.tracking import schema
from pipeline.training import fingerprints
from pipeline.tuning import importance
from pipeline.tuning.importance import Explained
from pipeline.tuning.space import Space
from pipeline.tuning.trials import State, Trial


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """The result of a search.

    Attributes:
        space: the search space.
        data: what was trained on.
        trials: all of them.
        winner: the best one on validation.
        confirmation: the winner and the start, trained with new seeds; None if there was no reason to, or no wish.
    """

    space: Space
    data: DataSet
    trials: Sequence[Trial]
    winner: Trial
    confirmation: tuple[Group, Group] | None = None

    @property
    def settings(self) -> Settings:
        """The winner's settings."""
        return self.space.settings(self.winner.parameters)

    @property
    def base(self) -> Settings:
        """The settings that the search started from, with the winner's cell."""
        return self.space.base(self.settings.cell)

    @cached_property
    def is_start(self) -> bool:
        """Whether the winner is the start: both train the same, however they are written."""
        return fingerprints.of(self.settings, self.data) == fingerprints.of(self.base, self.data)

    def confirmed(self, groups: Sequence[Group]) -> "SearchResult":
        """Return the result with its confirmation: the groups of the winner and of the start."""
        base = fingerprints.parameters(self.base, self.data)
        own = configuration({name: str(value) for name, value in base.items()})
        winner, start = sorted(groups, key=lambda group: configuration(group.results[0].params) == own)
        return replace(self, confirmation=(replace(winner, label="the best trial"), replace(start, label="the start")))

    @cached_property
    def test(self) -> PairwiseTest | None:
        """The test of the winner against the start, on the test images."""
        return pairwise_tests.between(*self.confirmation) if self.confirmation else None

    @cached_property
    def explained(self) -> Explained:
        """How much of the differences between trials the parameters explain."""
        return importance.explained(self.space, self.trials)

    @property
    def importance_text(self) -> str:
        """What matters, in a sentence."""
        share, parts = self.explained
        if not parts:
            return "Too few trials to tell which parameters matter."
        said = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
        return f"The parameters explain {share:.0%} of the variation between trials that were held out: {said}."

    @property
    def saved(self) -> float:
        """Share of all epochs that stopping trials early has saved."""
        epochs, pruned = self.base.epochs, self.of_state("pruned")
        saved = sum(epochs - len(trial.history) for trial in pruned)
        return saved / (epochs * (len(pruned) + len(self.of_state("complete"))))

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials of a state, the best first."""
        found = [trial for trial in self.trials if trial.state == state]
        return sorted(found, key=lambda trial: -max((each.val_accuracy for each in trial.history), default=0))

    @property
    def command(self) -> str:
        """The command that trains the winner again, with every value."""
        values = {field.name: getattr(self.settings, field.name) for field in fields(Settings)}
        kept = {
            name: value
            for name, value in values.items()
            if name not in DATA_PARAMETERS or value != getattr(Settings, name)
        }
        return command("run", **{name: shown(value) if name == "source" else value for name, value in kept.items()})

    @property
    def counts(self) -> str:
        """The number of trials of each state, and what stopping them early has saved."""
        pruned, failed = len(self.of_state("pruned")), len(self.of_state("failed"))
        parts = [f"{count_of(len(self.trials), 'trial')}: {len(self.of_state('complete'))} complete"]
        parts += [f"{pruned} stopped early"] if pruned else []
        parts += [f"{failed} failed"] if failed else []
        return f"{', '.join(parts)}. Early stopping saved {self.saved:.0%} of the epochs."

    @property
    def headline(self) -> str:
        """The result in a few words."""
        name = self.winner.name
        if self.is_start:
            return "Nothing better than the start was found"
        if self.test is None:
            return f"{name} is the best on validation; not confirmed"
        if not self.test.is_significant:
            return f"{name} is the best on validation, but not significantly better than the start on the test images"
        return f"{name} is significantly {'better' if self.test.difference > 0 else 'worse'} than the start"

    @property
    def reason(self) -> str:
        """What the headline is based on."""
        if self.is_start:
            return "On validation, no trial was ahead of the parameters that the search started from."
        if self.test is None or self.confirmation is None:
            return "The best of many trials is partly luck: --confirm shows how much of its lead is real."
        seeds = count_of(len(self.confirmation[0].seeds), "new seed")
        return f"On the test images, which no trial has seen, with {seeds}: {self.test.sentence}"

    def tags(self) -> dict[str, str]:
        """Return the tags that the run of the search gets."""
        values = {f"{schema.BEST}{name}": str(self.winner.parameters[name]) for name in sorted(self.winner.parameters)}
        return {schema.BEST_TRIAL: self.winner.name, schema.BEST_RUN: self.winner.run_id, **values}

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the run of the search gets."""
        states: tuple[State, ...] = ("complete", "pruned", "failed")
        counts = {f"trials_{state}": float(len(self.of_state(state))) for state in states}
        parts = {f"importance.{name}": part for name, part in self.explained.parameters.items()}
        return counts | parts | {"explained": self.explained.share, "epochs_saved": self.saved}
