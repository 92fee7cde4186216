"""Trials to figures, in the look of a comparison's page: what they reached, when, and with which parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.comparison import charts
from pipeline.comparison.charts import FONT_POINTS, HEIGHT, SURFACE
from pipeline.evaluation import figures
from pipeline.evaluation.figures import FAINT, GRID, INK
from pipeline.tuning.ranges import Choice, Numbers, Range
from pipeline.tuning.result import Findings
from pipeline.tuning.trials import Trial

_FAINTEST = 0.25  # of a complete trial, that of the lowest accuracy
_MARGIN = 0.06  # of an axis of parallel coordinates, above and below its range


def progress(found: Findings) -> Figure:
    """Draw what each trial reached, in their order, and the best so far as a line."""
    figure, axes = charts.chart(HEIGHT)
    complete, pruned = found.of_state("complete"), found.of_state("pruned")
    _dots(axes, [(trial.number, trial) for trial in complete], [(trial.number, trial) for trial in pruned])
    numbers = [trial.number for trial in complete]
    best = np.maximum.accumulate([trial.value for trial in complete])
    last = max(trial.number for trial in found.trials)
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=INK, linewidth=1.8)
    axes.set_xlabel("trial", fontsize=FONT_POINTS)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _percent(axes, [*complete, *pruned])
    _legend(figure, found, best=True)
    return figure


def curves(found: Findings) -> Figure:
    """Draw the validation accuracy of each trial by epoch, the winner's above the others."""
    figure, axes = charts.chart(HEIGHT)
    for trial in [*found.of_state("pruned"), *found.of_state("complete"), found.winner]:
        colour, width = (INK, 2.2) if trial is found.winner else (_colour(trial), 1.2)
        colour = FAINT if trial.state == "pruned" else colour
        epochs = sorted(trial.accuracies)
        values = [trial.accuracies[epoch] for epoch in epochs]
        marker = "o" if len(epochs) == 1 else ""
        axes.plot(epochs, values, color=colour, linewidth=width, marker=marker, markersize=3)
    axes.set_xlabel("epoch", fontsize=FONT_POINTS)
    figures.epoch_axis(axes, 1, max(trial.epochs for trial in found.trials if trial.accuracies))
    axes.set_ylabel("validation accuracy (%)", fontsize=FONT_POINTS)
    charts.scale_accuracies(axes)
    _legend(figure, found, lines=True)
    return figure


def importance(found: Findings) -> Figure:
    """Draw how much of the differences between trials each parameter explains: a bar each."""
    parts = found.importance[0]
    figure, axes = charts.rows(list(parts))
    for row, (name, part) in enumerate(parts.items()):
        axes.barh(row, 100 * part, height=0.22, color=INK)
        charts.write_row(axes, row, name, f"{100 * part:.0f} %")
    axes.set_xlim(0, 100)
    axes.set_xlabel("part of the differences explained (%)", fontsize=FONT_POINTS)
    return figure


def parallel(found: Findings) -> Figure:
    """Draw each trial as a line through its parameters, the stronger the more it reached."""
    names = found.space.names
    figure, axes = charts.chart(HEIGHT + 0.5)
    ended = sorted(
        (trial for trial in found.trials if trial.accuracies and trial.state != "running"),
        key=lambda trial: (trial.state == "complete", trial.value),
    )
    complete = [trial.value for trial in ended if trial.state == "complete"]
    for trial in ended:
        places = [_place(found, name, trial) for name in names]
        lead = (trial.value - min(complete)) / ((max(complete) - min(complete)) or 1)
        line: dict[str, Any] = {"color": FAINT, "linewidth": 0.7, "alpha": 0.6}
        if trial.state == "complete":
            strength = _FAINTEST + (1 - _FAINTEST) * lead
            line = {"color": _colour(trial), "linewidth": 2.6 if trial is found.winner else 1.3, "alpha": strength}
        axes.plot(range(len(names)), places, **line)
    _name_axes(axes, found, names)
    return figure


def parameter(found: Findings, name: str) -> Figure:
    """Draw what trials reached against one of their parameters."""
    figure, axes = charts.chart(HEIGHT)
    having = [trial for trial in found.trials if name in trial.parameters and trial.accuracies]
    ranges = [of[name] for of in found.space.ranges.values() if name in of]
    numeric = bool(ranges) and not any(isinstance(of, Choice) for of in ranges)
    values = sorted({trial.parameters[name] for trial in having}, key=lambda value: (isinstance(value, str), value))
    spots = {
        trial.number: trial.parameters[name] if numeric else values.index(trial.parameters[name]) for trial in having
    }
    pairs = {
        state: [(spots[trial.number], trial) for trial in having if trial.state == state]
        for state in ("complete", "pruned")
    }
    _dots(axes, pairs["complete"], pairs["pruned"])
    axes.set_xlabel(name, fontsize=FONT_POINTS)
    if numeric and any(getattr(of, "log", False) for of in ranges):
        axes.set_xscale("log")
        charts.plain_logarithmic(axes.xaxis)
    if not numeric:
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
    _percent(axes, having)
    _legend(figure, found)
    return figure


def _dots(axes: Axes, complete: Sequence[tuple[Any, Trial]], pruned: Sequence[tuple[Any, Trial]]) -> None:
    """Draw trials as marks at their places: the complete ones full, those that were ended early faint and hollow."""
    for place, trial in pruned:
        axes.plot(place, trial.value, "o", color=FAINT, markersize=4, markerfacecolor="none")
    for place, trial in complete:
        dot = {"markersize": 6.5, "markeredgecolor": SURFACE, "markeredgewidth": 0.8, "zorder": 3}
        axes.plot(place, trial.value, "o", color=_colour(trial), **dot)  # type: ignore[arg-type]


def _colour(trial: Trial) -> str:
    return figures.colour_of(str(trial.parameters["cell"]))


def _percent(axes: Axes, drawn: Sequence[Trial]) -> None:
    axes.set_ylabel("validation accuracy (%)", fontsize=FONT_POINTS)
    charts.scale_accuracies(axes)


def _legend(figure: Figure, found: Findings, *, best: bool = False, lines: bool = False) -> None:
    """Name complete trials, those that were ended early, and the best so far or the winner."""
    colour = _colour(found.winner) if len(found.space.cells) == 1 else INK
    marks: list[Any] = [
        Line2D([], [], color=colour, marker="" if lines else "o", linestyle="-" if lines else "", linewidth=1.2),
        Line2D(
            [], [], color=FAINT, marker="" if lines else "o", linestyle="-" if lines else "", markerfacecolor="none"
        ),
    ]
    names = ["complete", "ended early"]
    if best or lines:
        marks.append(Line2D([], [], color=INK, linewidth=2.2))
        names.append("best so far" if best else "the best")
    charts.place_legend(figure, marks, names)


def _place(found: Findings, name: str, trial: Trial) -> float:
    """Return where a trial stands on the axis of a parameter, from 0 to 1; NaN where its cell lacks it."""
    if name == "cell":
        cells = found.space.cells
        return [str(cell) for cell in cells].index(str(trial.parameters["cell"])) / (len(cells) - 1)
    if name not in trial.parameters:
        return float("nan")
    value, of = trial.parameters[name], _widest(found, name)
    if isinstance(of, Choice):
        return of.values.index(value) / (len(of.values) - 1)
    low, high, number = of.low, of.high, float(value)
    if of.log:
        low, high, number = np.log(low), np.log(high), np.log(number)
    return float((number - low) / (high - low))


def _widest(found: Findings, name: str) -> Range:
    """Return what holds the ranges that cells have of a parameter."""
    ranges = [of[name] for of in found.space.ranges.values() if name in of]
    numbers = [of for of in ranges if isinstance(of, Numbers)]
    if len(numbers) < len(ranges):
        return Choice(values=tuple(dict.fromkeys(value for of in ranges for value in of.ends)))
    low, high = min(of.low for of in numbers), max(of.high for of in numbers)
    return Numbers(low=low, high=high, log=numbers[0].log)


def _name_axes(axes: Axes, found: Findings, names: Sequence[str]) -> None:
    """Write what each upright axis is, and its values: the ends of a range, or all of a choice."""
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False)
    axes.set_ylim(-2 * _MARGIN, 1 + 2 * _MARGIN)
    axes.set_xlim(-0.3, len(names) - 0.45)
    for place, name in enumerate(names):
        axes.plot([place] * 2, [0, 1], color=GRID, linewidth=1.2, zorder=0)
        for height, text in _marks(found, name):
            box = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
            spot = (place + 0.04, height)
            axes.annotate(text, spot, va="center", fontsize=FONT_POINTS, color=INK, bbox=box, zorder=4)


def _marks(found: Findings, name: str) -> list[tuple[float, str]]:
    if name == "cell":
        values: Sequence[object] = found.space.cells
    else:
        of = _widest(found, name)
        if not isinstance(of, Choice):
            return [(-_MARGIN, f"{of.low:g}"), (1 + _MARGIN, f"{of.high:g}")]
        values = of.values
    return [(place / (len(values) - 1), str(value)) for place, value in enumerate(values)]
