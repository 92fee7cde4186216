"""The report on a search: tags and metrics of its run, a page with charts, and lines for the terminal."""

import base64
import io
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

from pipeline import __version__
from pipeline.comparison import page, report_data
from pipeline.progress import Reporter
from pipeline.tracking import schema, store
from pipeline.tuning.result import SearchResult

SHOWN = 5
"""Number of the best trials that the terminal shows."""

CHARTS = {
    "progress": ("The best so far", "Each dot is a complete trial, in the order of the trials."),
    "curves": ("Trials by epoch", "The best validation accuracy so far. A line ends where its trial was stopped."),
    "parallel": ("All parameters together", "Each line is a complete trial; the darker, the better."),
    "parameters": ("Each parameter", "Its value against the validation accuracy of the complete trials."),
}
"""The charts of a page: name of the file, heading and caption."""


def log_winner(search: str, result: SearchResult) -> None:
    """Log which trial is the best; this also marks that all trials have ended."""
    store.log_metrics(search, result.metrics())
    store.log_tags(search, result.tags())


def report(search: str, result: SearchResult, reporter: Reporter) -> None:
    """Store the page on the run of a search, in ``search/``, and show the result."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files(result).items():
            Path(folder, name).write_bytes(content)
        store.log_folder(search, Path(folder), schema.SEARCH_FOLDER)
    store.log_tags(search, {schema.VERDICT: result.headline})
    names = result.space.names
    rows = [
        [trial.name, f"{100 * trial.value:.2f}", str(trial.kept.epoch)]
        + [str(trial.parameters.get(name, "")) for name in names]
        for trial in result.of_state("complete")[:SHOWN]
    ]
    reporter.table(("best trials", "val accuracy %", "kept epoch", *names), rows)
    for line in (result.counts, result.importance_text, f"{result.headline}. {result.reason}"):
        reporter.result(line)
    reporter.result(f"Train it again: {result.command}")
    reporter.note(f"Run {search} holds the report, in {schema.SEARCH_FOLDER}/.")


def files(result: SearchResult) -> dict[str, bytes]:
    """Return the page, its table as CSV and its charts as PNG, by file name."""
    drawn = {name: chart for name in CHARTS if (chart := _drawn(name, result.study))}
    text = report_data.as_text(table(result), "csv")
    charts = {f"{name}.png": chart for name, chart in drawn.items()}
    return {"search.html": _page(result, drawn).encode(), "trials.csv": text.encode()} | charts


def _drawn(name: str, study: optuna.Study) -> bytes | None:
    """Return a chart as PNG; None if it has nothing to show."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as charts

    draw: dict[str, Callable[[optuna.Study], Any]] = {
        "progress": charts.plot_optimization_history,
        "curves": charts.plot_intermediate_values,
        "parallel": charts.plot_parallel_coordinate,
        "parameters": charts.plot_slice,
    }
    if name == "parallel" and max(len(trial.params) for trial in study.trials) == 1:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these charts of Optuna are marked as experimental
        figure = np.ravel(draw[name](study))[0].figure
    for axes in figure.axes:
        axes.set_title("")
    file = io.BytesIO()
    figure.savefig(file, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
    return file.getvalue()


def _page(result: SearchResult, drawn: dict[str, bytes]) -> str:
    charts = [
        {
            "name": name,
            "title": CHARTS[name][0],
            "caption": CHARTS[name][1],
            "source": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        }
        for name, content in drawn.items()
    ]
    trials = [trial for state in ("complete", "pruned", "failed", "running") for trial in result.of_state(state)]
    template = page.environment(Path(__file__).parent).get_template("search.html")
    return template.render(
        result=result,
        charts=charts,
        trials=trials,
        copies={
            "Markdown": report_data.as_text(table(result), "markdown"),
            "CSV": report_data.as_text(table(result), "csv"),
        },
        base={name: getattr(result.base, name) for name in result.space.names},
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
    )


def table(result: SearchResult) -> pd.DataFrame:
    """Return a row per trial: its parameters and what it reached; accuracies are fractions."""
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "name": trial.name,
                "state": trial.state,
                "best_val_accuracy": trial.value if trial.history else None,
                "kept_epoch": trial.kept.epoch if trial.history else None,
                "epochs": len(trial.history),
                **{name: trial.parameters.get(name) for name in result.space.names},
                "reused": trial.reused,
                "run_id": trial.run_id,
                "reason": trial.reason,
            }
            for trial in result.trials
        ]
    ).astype({"kept_epoch": "Int64"})
