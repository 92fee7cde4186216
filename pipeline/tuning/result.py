"""What came of a search, in numbers and in words."""

from collections.abc import Mapping, Sequence
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
from pipeline.tuning import sampling, trials
from pipeline.tuning.space import Space
from pipeline.tuning.trials import State, Trial

FOUND, START = "the best trial", "the start"


@dataclass(frozen=True, kw_only=True, eq=False)
class Confirmation:
    """The winner and the start, trained with seeds that the search has not seen.

    Attributes:
        found: the trainings of the winner.
        start: those of the start.
    """

    found: Group
    start: Group

    @classmethod
    def of(cls, groups: Sequence[Group], start: Settings, data: DataSet) -> "Confirmation":
        """Return the confirmation that two groups make up."""
        own = configuration({name: str(value) for name, value in fingerprints.parameters(start, data).items()})
        first, second = sorted(groups, key=lambda group: configuration(group.results[0].params) == own)
        return cls(found=replace(first, label=FOUND), start=replace(second, label=START))

    @cached_property
    def test(self) -> PairwiseTest:
        """The test of the two on the test images."""
        return pairwise_tests.between(self.found, self.start)


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What came of a search.

    Attributes:
        space: what there was to choose from.
        data: what was trained on.
        trials: all of them.
        winner: the best one on validation.
        epochs: of a trial that is not ended early.
        confirmation: None where nothing better than the start was found, or none was asked for.
    """

    space: Space
    data: DataSet
    trials: Sequence[Trial]
    winner: Trial
    epochs: int
    confirmation: Confirmation | None = None

    @property
    def settings(self) -> Settings:
        """Those of the winner."""
        return self.space.settings(self.winner.parameters)

    @property
    def base(self) -> Settings:
        """Those that the search started from, with the winner's cell."""
        return self.space.base(self.settings.cell)

    @cached_property
    def is_start(self) -> bool:
        """Whether nothing better than the start was found: as both apply to the data, however they are written."""
        own, base = (fingerprints.of(each, self.data) for each in (self.settings, self.base))
        return own == base

    @cached_property
    def importance(self) -> tuple[Mapping[str, float], int]:
        """How much of the differences each parameter explains, and after which epoch."""
        return sampling.importance(self.space, self.trials)

    @property
    def saved(self) -> float:
        """The part of all epochs that pruning has saved."""
        return trials.epochs_saved(self.trials, self.epochs)

    def of_state(self, state: State) -> list[Trial]:
        """Return the trials of a state."""
        return [trial for trial in self.trials if trial.state == state]

    @property
    def command(self) -> str:
        """What to type to train the winner again, with every value."""
        values = {field.name: getattr(self.settings, field.name) for field in fields(Settings)}
        kept = {name: value for name, value in values.items() if not _goes_without_saying(name, value)}
        return command("run", **{name: shown(value) if name == "source" else value for name, value in kept.items()})

    @property
    def chosen(self) -> str:
        """The winner's values in a line."""
        return values_of(self.winner)

    @property
    def counts(self) -> str:
        """How many trials there were, of which state, and what pruning has saved."""
        pruned, failed = len(self.of_state("pruned")), len(self.of_state("failed"))
        parts = [f"{count_of(len(self.trials), 'trial')}: {len(self.of_state('complete'))} complete"]
        parts += [f"{pruned} ended early"] if pruned else []
        parts += [f"{failed} failed"] if failed else []
        return f"{', '.join(parts)}. Ending early has saved {self.saved:.0%} of the epochs."

    @property
    def headline(self) -> str:
        """What came of it in a few words."""
        if self.is_start:
            return "Nothing better than the start was found"
        if self.confirmation is None:
            return f"{self.name} is best on validation; it is not confirmed"
        if not self.confirmation.test.is_significant:
            return f"{self.name} is best on validation; that it is better than the start is not shown"
        better = self.confirmation.test.difference > 0
        return f"{self.name} is {'better' if better else 'worse'} than the start"

    @property
    def lead(self) -> str:
        """What that rests on."""
        if self.is_start:
            return "On validation no trial was ahead of the parameters that the search started from."
        if self.confirmation is None:
            return "The best of many trials is best by luck, too: --confirm says how much of its lead is real."
        seeds = count_of(len(self.confirmation.found.seeds), "new seed")
        said = self.confirmation.test.sentence
        return f"On the test images, which no trial has seen, with {seeds}: {said}"

    @property
    def name(self) -> str:
        """Of the winner's run."""
        return self.winner.name

    def tags(self) -> dict[str, str]:
        """Return what the run of the search says of the winner."""
        values = {f"{schema.BEST}{name}": str(self.winner.parameters[name]) for name in sorted(self.winner.parameters)}
        return {schema.BEST_TRIAL: self.name, schema.BEST_RUN: self.winner.run_id, **values}

    def metrics(self) -> dict[str, float]:
        """Return what the run of the search holds as metrics."""
        states = {f"trials_{state}": float(len(self.of_state(state))) for state in ("complete", "pruned", "failed")}
        parts = {f"importance.{name}": part for name, part in self.importance[0].items()}
        return states | parts | {"epochs_saved": self.saved}


def values_of(trial: Trial) -> str:
    """Return the values of a trial in a line."""
    return ", ".join(f"{name} {value}" for name, value in trial.parameters.items() if name != "cell")


def _goes_without_saying(name: str, value: object) -> bool:
    return name in DATA_PARAMETERS and value == getattr(Settings, name)
