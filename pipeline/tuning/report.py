"""The report on a search: tags and metrics of its run, a page with charts, and lines for the terminal."""

import base64
import io
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


def log_winner(search: str, result: SearchResult) -> None:
    """Log which trial is the best; this also marks that all trials have ended."""
    store.log_metrics(search, result.metrics())
    store.log_tags(search, result.tags())


def report(search: str, result: SearchResult, reporter: Reporter) -> None:
    """Store the page on the run of a search, in ``search/``, and show the result."""
    store.write_files(search, schema.SEARCH_FOLDER, files(result))
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
    study, rows = _study(result), table(result)
    shown = [name for name in CHARTS if name != "parallel" or len(result.space.names) > 1]
    drawn = {name: _drawn(name, study) for name in shown}
    copies = {"Markdown": report_data.as_text(rows, "markdown"), "CSV": report_data.as_text(rows, "csv")}
    charts = {f"{name}.png": chart for name, chart in drawn.items()}
    return {"search.html": _page(result, drawn, copies).encode(), "trials.csv": copies["CSV"].encode()} | charts


def _drawn(name: str, study: optuna.Study) -> bytes:
    """Return a chart as PNG."""
    from matplotlib import pyplot, rc_context
    from optuna.visualization import matplotlib as charts

    with warnings.catch_warnings(), rc_context():  # Optuna sets a style for all later figures
        warnings.simplefilter("ignore")  # these charts of Optuna are marked as experimental
        if name == "curves":
            drawn: Any = charts.plot_intermediate_values(study)
            drawn.set(xlabel="epoch", ylabel=ACCURACY)
        else:
            draw: dict[str, Callable[..., Any]] = {
                "progress": charts.plot_optimization_history,
                "parallel": charts.plot_parallel_coordinate,
                "parameters": charts.plot_slice,
            }
            drawn = draw[name](study, target_name=ACCURACY)
    figure = np.ravel(drawn)[0].figure
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
    file = io.BytesIO()
    figure.savefig(file, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
    return file.getvalue()


def _study(result: SearchResult) -> optuna.Study:
    """Return the trials that reached an epoch as a study whose numbers are those of the trials, from 1."""
    study = optuna.create_study(direction="maximize")
    by_number = {trial.number: trial for trial in result.trials if trial.history}
    for number in range(max(by_number) + 1):
        if number not in by_number:
            study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
            continue
        trial = by_number[number]
        params, distributions = result.space.in_study(trial.parameters)
        made = optuna.trial.create_trial(
            value=trial.value,
            params=params,
            distributions=distributions,
            intermediate_values={each.epoch: trial.best_until(each.epoch) for each in trial.history},
        )
        study.add_trial(made)
    return study


def _page(result: SearchResult, drawn: dict[str, bytes], copies: dict[str, str]) -> str:
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
        copies=copies,
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
