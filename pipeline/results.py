"""Results of the functions of :mod:`pipeline.api`: runs, comparisons and searches, as pandas tables.

The content of a run is read when an attribute is first used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking import schema

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.tracking.models import Classifier
    from pipeline.tracking.schema import TrackedRun


@dataclass(frozen=True)
class RunResult:
    """One run: accuracies are fractions, costs nats, times seconds.

    Attributes:
        run_id: ID of the MLflow run.
    """

    run_id: str

    @cached_property
    def params(self) -> dict[str, str]:
        """Every parameter, as text, by name."""
        return dict(_run(self.run_id).params)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The last value of each metric, by name."""
        return dict(_run(self.run_id).metrics)

    @cached_property
    def history(self) -> "pd.DataFrame":
        """A row per epoch."""
        return _table(self.run_id, schema.HISTORY)

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """A row per test image: label, answer, all probabilities."""
        return _table(self.run_id, schema.PREDICTIONS)

    @cached_property
    def per_class(self) -> "pd.DataFrame":
        """A row per class: precision, recall, F1, number of test images."""
        return _table(self.run_id, schema.PER_CLASS)

    @cached_property
    def model(self) -> "Classifier":
        """The model, loaded as it is served."""
        from pipeline.tracking import models

        return models.load(f"runs:/{self.run_id}/{schema.MODEL}")


@dataclass(frozen=True)
class Comparison:
    """A comparison of finished runs: accuracies are fractions, costs nats, times seconds.

    Attributes:
        run_id: ID of the MLflow run with the report; None if the report is only in a folder.
        folder: folder with the report; None if the report is only on a run.
    """

    run_id: str | None
    folder: Path | None = None

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """A row per run."""
        return self._table("runs")

    @cached_property
    def summary(self) -> "pd.DataFrame":
        """A row per configuration: means and standard deviations over its seeds."""
        return self._table("summary")

    @cached_property
    def pairwise_tests(self) -> "pd.DataFrame":
        """A row per pair of configurations: the difference, its interval, whether it is significant."""
        return self._table("pairwise_tests")

    def _table(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        if self.folder is not None:
            return pd.read_csv(self.folder / f"{name}.csv")
        return _table(str(self.run_id), f"{schema.COMPARISON_FOLDER}/{name}.csv")


@dataclass(frozen=True)
class Search:
    """A search for better parameters.

    Attributes:
        run_id: ID of the MLflow run with the report.
    """

    run_id: str

    @cached_property
    def best(self) -> RunResult:
        """The best trial."""
        return RunResult(_run(self.run_id).tags[schema.BEST_RUN])

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """A row per trial: its parameters and its results; accuracies are fractions."""
        return _table(self.run_id, f"{schema.SEARCH_FOLDER}/trials.csv")


def table(rows: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return a table of the latest runs, with a column for each parameter in which they differ."""
    import pandas as pd

    return pd.DataFrame([{**row, **row["parameters"]} for row in rows]).drop(columns="parameters", errors="ignore")


def _run(run_id: str) -> "TrackedRun":
    from pipeline.tracking import store

    return store.get_run(run_id)


def _table(run_id: str, path: str) -> "pd.DataFrame":
    from pipeline.tracking import store

    return store.load_table(run_id, path)
