"""A search as one HTML page that needs nothing else, in the look of a comparison's, which lies beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from pipeline import __version__
from pipeline.comparison import page
from pipeline.comparison.formatting import count_of
from pipeline.comparison.page import png, svg_element
from pipeline.comparison.report_data import as_text
from pipeline.tuning import plots
from pipeline.tuning.result import Findings, values_of


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart: the name of its files, the heading it stands below, how it is drawn, and how to read it."""

    name: str
    title: str
    draw: Callable[[Findings], Figure]
    caption: str


def charts(found: Findings) -> list[Chart]:
    """Return the charts that there is something to be drawn in."""
    parts, epoch = found.importance
    what = f"Of the validation accuracy after {count_of(epoch, 'epoch')}, which all trials reached (fANOVA)."
    parallel = "A line is a trial; the stronger, the better. Faint: ended early."
    drawn = [
        Chart(name="progress", title="The best so far", draw=plots.progress, caption="In the order of the trials."),
        Chart(name="curves", title="Trials by epoch", draw=plots.curves, caption="Where a line ends, it was ended."),
    ]
    if parts:
        drawn += [Chart(name="importance", title="What matters", draw=plots.importance, caption=what)]
    if len(found.space.names) > 1:
        drawn += [Chart(name="parallel", title="All parameters at once", draw=plots.parallel, caption=parallel)]
    return drawn + [_of_parameter(name) for name in found.space.names]


def _of_parameter(name: str) -> Chart:
    return Chart(
        name=f"parameter_{name}",
        title=name.replace("_", " ").capitalize(),
        draw=lambda found: plots.parameter(found, name),
        caption="Against the best validation accuracy that each trial reached.",
    )


def files(found: Findings) -> dict[str, bytes]:
    """Return the page, its table as CSV and its figures as PNG, by file name."""
    drawn = {chart: chart.draw(found) for chart in charts(found)}
    return {"search.html": _page(found, drawn).encode(), "trials.csv": as_text(table(found), "csv").encode()} | {
        f"{chart.name}.png": png(figure) for chart, figure in drawn.items()
    }


def _page(found: Findings, drawn: dict[Chart, Figure]) -> str:
    base = {name: getattr(found.base, name) for name in found.space.names}
    return (
        page.environment(Path(__file__).parent)
        .get_template("search.html")
        .render(
            found=found,
            values_of=values_of,
            base=base,
            ranked=sorted(
                found.trials, key=lambda trial: (trial.state != "complete", -max(trial.accuracies.values(), default=0))
            ),
            charts=[
                (chart, svg_element(figure, name=chart.name, description=f"{chart.title}. {chart.caption}"))
                for chart, figure in drawn.items()
            ],
            copies={"Markdown": as_text(table(found), "markdown"), "CSV": as_text(table(found), "csv")},
            made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, by pipeline {__version__}",
        )
    )


def table(found: Findings) -> pd.DataFrame:
    """Return a row per trial: what was chosen for it, and what it reached; accuracies are fractions, costs nats."""
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "name": trial.name,
                "state": trial.state,
                "best_val_accuracy": trial.value if trial.accuracies else None,
                "kept_epoch": trial.kept_epoch if trial.accuracies else None,
                "epochs": trial.epochs,
                **{name: trial.parameters.get(name) for name in found.space.names},
                "taken_over": trial.taken_over,
                "run_id": trial.run_id,
                "reason": trial.reason,
            }
            for trial in found.trials
        ]
    ).astype({"kept_epoch": "Int64"})
