"""What the functions of :mod:`pipeline.api` return: trainings and comparisons, as pandas tables."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.startup import quieten

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.tracking.classifier import Classifier


@dataclass(frozen=True)
class Training:
    """A training, as its MLflow run holds it; what it holds is read when it is asked for.

    Attributes:
        run_id: of the MLflow run.
    """

    run_id: str

    @cached_property
    def params(self) -> dict[str, str]:
        """Every parameter, as text, by name."""
        from pipeline.tracking import store

        return dict(store.get_run(self.run_id).params)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric, by name: accuracies are fractions, costs nats, times seconds."""
        from pipeline.tracking import store

        return dict(store.get_run(self.run_id).metrics)

    @cached_property
    def history(self) -> "pd.DataFrame":
        """A row per epoch."""
        return self._table("HISTORY")

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """A row per test image: label, answer, all probabilities."""
        return self._table("PREDICTIONS")

    @cached_property
    def per_class(self) -> "pd.DataFrame":
        """A row per class: precision, recall, F1, number of test images."""
        return self._table("PER_CLASS")

    @cached_property
    def model(self) -> "Classifier":
        """The model, loaded as it is served."""
        from pipeline.tracking import classifier

        quieten()
        return classifier.load(f"runs:/{self.run_id}/model")

    def _table(self, name: str) -> "pd.DataFrame":
        from pipeline.tracking import schema, store

        return store.load_table(self.run_id, getattr(schema, name))


@dataclass(frozen=True)
class Comparison:
    """Finished trainings against each other: accuracies are fractions, costs nats, times seconds.

    Attributes:
        run_id: of the MLflow run that holds the report; None where it is in a folder alone.
        runs: a row per training.
        summary: a row per configuration, over its seeds.
        verdicts: a row per pair of configurations.
    """

    run_id: str | None
    schema: "pd.DataFrame"
    summary: "pd.DataFrame"
    verdicts: "pd.DataFrame"


@dataclass(frozen=True)
class Search:
    """What a search has found.

    Attributes:
        run_id: of the MLflow run that holds the report.
        best: the best trial.
        trials: a row per trial: what was chosen for it, and what it reached; accuracies are fractions.
    """

    run_id: str
    best: Training
    trials: "pd.DataFrame"
