"""The report on a search: tags and metrics, a page with charts, and lines for the terminal."""

import base64
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline import __version__
from pipeline.comparison import report as reports
from pipeline.comparison import report_data
from pipeline.comparison.charts import plain_logarithmic
from pipeline.progress import Reporter
from pipeline.tracking import schema, store
from pipeline.tuning.result import SearchResult
from pipeline.tuning.space import range_text

SHOWN = 5
"""Number of the best trials that the terminal shows."""

ACCURACY = "validation accuracy"

CHARTS = {
    "progress": (
        "The best so far",
        "Each dot is a trial; stopped ones count with what they had reached.",
    ),
    "curves": ("Trials by epoch", "The best accuracy so far. A line ends where its trial was stopped."),
    "parallel": ("All parameters together", "Each line is a trial; the darker, the better."),
    "parameters": ("Each parameter", "Its value against the accuracy; the darker, the later the trial."),
}
"""The charts of a page: name of the file, heading and caption."""

WIDE = ("parallel", "parameters")
"""The charts that are as wide as the page."""


def log_winner(search: str, result: SearchResult) -> None:
    """Log which trial is the best; this also marks that all trials have ended."""
    store.log_metrics(search, result.metrics())
    store.log_tags(search, result.tags())


def report(search: str, result: SearchResult, reporter: Reporter) -> None:
    """Store the page on the run of a search, in ``search/``, and show the result."""
    store.write_files(search, schema.SEARCH_FOLDER, files(result))
    store.log_tags(search, {"verdict": result.headline})
    rows = [
        [trial.name, f"{100 * trial.kept.val_accuracy:.2f}", str(trial.kept.epoch)]
        + [str(trial.parameters[name]) for name in result.space.names]
        for trial in result.of_state("complete")[:SHOWN]
    ]
    reporter.table(("best trials", "val accuracy %", "kept epoch", *result.space.names), rows)
    for line in (result.counts, result.importance_text, f"{result.headline}. {result.reason}"):
        reporter.result(line)
    reporter.result(f"Train it again: {result.command}")
    reporter.note(f"Run {search} holds the report, in {schema.SEARCH_FOLDER}/.")


def files(result: SearchResult) -> dict[str, bytes]:
    """Return the page, its table as CSV and its charts as PNG, by file name."""
    rows = table(result)
    shown = [name for name in CHARTS if name != "parallel" or len(result.space.names) > 1]
    drawn = {name: reports.png(chart(name, result), dpi=150, bbox_inches="tight") for name in shown}
    copies = {"Markdown": report_data.as_text(rows, "markdown"), "CSV": report_data.as_text(rows, "csv")}
    charts = {f"{name}.png": content for name, content in drawn.items()}
    return {"search.html": _page(result, drawn, copies).encode(), "trials.csv": copies["CSV"].encode()} | charts


def chart(name: str, result: SearchResult) -> Figure:
    """Return a chart of Optuna's, with ticks as plain numbers."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization import matplotlib as charts

    parameters: dict[str, Any] = {"params": result.space.names, "target_name": ACCURACY}
    draw: dict[str, Callable[[], Any]] = {
        "progress": lambda: charts.plot_optimization_history(result.study, target_name=ACCURACY),
        "curves": lambda: charts.plot_intermediate_values(result.study),
        "parallel": lambda: charts.plot_parallel_coordinate(result.study, **parameters),
        "parameters": lambda: charts.plot_slice(result.study, **parameters),
    }
    with warnings.catch_warnings(), rc_context():  # Optuna sets a style for all later figures
        warnings.simplefilter("ignore")  # these charts of Optuna are marked as experimental
        figure: Figure = np.ravel(draw[name]())[0].figure
    pyplot.close(figure)  # pyplot would keep it
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                plain_logarithmic(axis)
                axis.set_tick_params(labelrotation=45 if axis is axes.xaxis else 0)
    if name == "curves":
        figure.axes[0].set(xlabel="epoch", ylabel=ACCURACY)
    if name in WIDE:
        figure.set_size_inches(10, 4.5)
    return figure


def _page(result: SearchResult, drawn: Mapping[str, bytes], copies: Mapping[str, str]) -> str:
    sources = {name: f"data:image/png;base64,{base64.b64encode(content).decode()}" for name, content in drawn.items()}
    template = reports.environment(Path(__file__).parent).get_template("search.html")
    return template.render(
        result=result,
        charts=[(name, *CHARTS[name], source) for name, source in sources.items()],
        wide=WIDE,
        trials=[trial for state in ("complete", "pruned", "failed", "running") for trial in result.of_state(state)],
        searched={name: range_text(each) for name, each in result.space.ranges.items()},
        copies=copies,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
    )


def table(result: SearchResult) -> pd.DataFrame:
    """Return a row per trial: its parameters and what it reached; accuracies are fractions."""
    rows = [
        {
            "trial": trial.number,
            "name": trial.name,
            "state": trial.state,
            "best_val_accuracy": trial.kept.val_accuracy if trial.history else None,
            "kept_epoch": trial.kept.epoch if trial.history else None,
            "epochs": len(trial.history),
            **{name: trial.parameters[name] for name in result.space.names},
            "reused": trial.reused,
            "run_id": trial.run_id,
            "reason": trial.reason,
        }
        for trial in result.trials
    ]
    return pd.DataFrame(rows).astype({"kept_epoch": "Int64"})
