"""Compare runs with the tutorial's settings with the results that the tutorial published.

    python benchmarks/tutorial.py

Reads all finished runs of the current tracking store that were trained on MNIST with the default parameters. Prints a
row for each cell, with medians over the seeds.
"""

import os
from collections.abc import Iterator
from dataclasses import fields
from statistics import median

os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow
from mlflow.entities import Run

from pipeline.settings import Settings

EPOCHS = (1, 5, 10, 20, 30)
PUBLISHED = (0.525, 0.135, 0.097, 0.068, 0.059)  # cost of the notebook's BasicRNNCell after these epochs
PUBLISHED_ACCURACY = 0.9732
VARIED = {"source", "data_dir", "cell", "seed", "shards", "steps"}  # steps: a run logs 28, not the default 0


def main() -> None:
    """Print the table."""
    print("| network | seeds | " + " | ".join(f"cost {epoch}" for epoch in EPOCHS) + " | test accuracy (min–max) |")
    print("| --- " * (len(EPOCHS) + 3) + "|")
    print(f"| the notebook, `BasicRNNCell` | 1 | {_costs(PUBLISHED)} | {PUBLISHED_ACCURACY:.2%} |")
    runs = list(_runs())
    for cell in ("rnn", "lstm", "gru"):
        if of_cell := [run for run in runs if run.data.params["cell"] == cell]:
            print(_row(cell, of_cell))


def _runs() -> Iterator[Run]:
    expected = {item.name: str(item.default) for item in fields(Settings) if item.name not in VARIED}
    for run in mlflow.search_runs(filter_string="attributes.status = 'FINISHED'", output_format="list"):
        if expected.items() <= run.data.params.items() and "test_accuracy" in run.data.metrics:
            yield run


def _row(cell: str, runs: list[Run]) -> str:
    client = mlflow.MlflowClient()
    histories = [{m.step: m.value for m in client.get_metric_history(run.info.run_id, "cost")} for run in runs]
    costs = _costs([median(history[epoch] for history in histories) for epoch in EPOCHS])
    accuracies = [run.data.metrics["test_accuracy"] for run in runs]
    accuracy = f"{median(accuracies):.2%} ({min(accuracies):.2%}–{max(accuracies):.2%})"
    return f"| `{cell}` | {len(runs)} | {costs} | {accuracy} |"


def _costs(costs: tuple[float, ...] | list[float]) -> str:
    return " | ".join(f"{cost:.3f}" for cost in costs)


if __name__ == "__main__":
    main()
