"""Many trainings through an executor: which jobs they are, how many at once, what becomes of each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.jobs import job, naming, processes
from pipeline.jobs.board import Board
from pipeline.jobs.job import Done, Job, Opened
from pipeline.progress import Reporter
from pipeline.settings import Settings, usable_cores
from pipeline.tracking import store

MEMORY = 1.5e9
"""Bytes that a training is taken to need: at the defaults, MNIST included, it is 0.9e9."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the jobs.

    Attributes:
        done: what each leaves that ended well.
        failures: the reason of each that failed.
    """

    done: Mapping[Job, Done] = field(default_factory=dict)
    failures: Mapping[Job, str] = field(default_factory=dict)


def planned(grid: Sequence[Settings], data: DataSet, *, parent: str, count: int) -> list[Job]:
    """Return the jobs of a comparison; side by side, ``count`` of them share the cores."""
    return [
        Job(
            settings=settings,
            name=name,
            parent=parent,
            dataset=data.name,
            digest=data.digest,
            cores=max(1, usable_cores() // count),
        )
        for name, settings in zip(naming.trainings(grid, data.name), grid, strict=True)
    ]


def at_once(trainings: int) -> int:
    """Return how many trainings to run at once: one per core, as far as the memory goes; one at a time on a GPU.

    Of an LSTM, two epochs side by side on one core each take about as long as one after the other on two; what is
    around the epochs then runs side by side, too. The numbers are the same. See ``benchmarks/side_by_side.py``.
    """
    if Path("/proc/driver/nvidia/gpus").exists():
        return 1
    return max(1, min(trainings, usable_cores(), int(psutil.virtual_memory().available / MEMORY)))


def train_all(jobs: Sequence[Job], reporter: Reporter, *, count: int) -> Outcome:
    """Do the jobs, ``count`` at a time; each run is listed as a child of its comparison as soon as it is known."""
    done: dict[Job, Done] = {}
    failures: dict[Job, str] = {}

    def keep(event: processes.Event) -> None:
        if isinstance(event, processes.Finished):
            done[event.job] = event.result
        elif isinstance(event, processes.Failed):
            failures[event.job] = event.reason

    order = sorted(jobs, key=_size, reverse=True)  # the longest first, so that no core waits long for the last
    follow(order, Board(order, count), reporter, keep, count=count)
    return Outcome(
        done={each: done[each] for each in jobs if each in done},
        failures={each: failures[each] for each in jobs if each in failures},
    )


def follow(
    jobs: Iterable[Job],
    board: Board,
    reporter: Reporter,
    take: Callable[[processes.Event], None],
    *,
    count: int,
    goes_on: processes.GoesOn = processes.always,
) -> None:
    """Do the jobs, ``count`` at a time; each run is listed as a child of its parent as soon as it is known.

    Args:
        jobs: taken one by one, as there is room: the next one may depend on what has happened before.
        board: that shows them.
        reporter: told how far they are.
        take: given all that happens.
        count: of jobs at a time.
        goes_on: whether a job is to go on after what it has sent.
    """
    run_ids: dict[Job, str] = {}
    with _all_ended(run_ids), closing(processes.run(job.train, jobs, count=count, goes_on=goes_on)) as events:
        for event in events:
            if isinstance(event, processes.Finished | processes.Failed):
                run_id = run_ids.pop(event.job, None)
                if run_id and isinstance(event, processes.Failed):
                    store.mark_failed(run_id, event.reason)
            elif isinstance(event, processes.Said) and isinstance(event.message, Opened):
                run_ids[event.job] = event.message.run_id
                store.add_child(event.job.parent, event.message.run_id)
            take(event)
            board.take(event)
            reporter.trainings(board.rows, board.left)


@contextmanager
def _all_ended(run_ids: Mapping[Job, str]) -> Iterator[None]:
    """Mark those runs as KILLED that an interruption leaves RUNNING: of a process that took too long to end."""
    try:
        yield
    except KeyboardInterrupt:
        for run_id in run_ids.values():
            store.mark_failed(run_id, "Stopped by Ctrl-C or a termination signal.", status="KILLED")
        raise


def _size(job: Job) -> tuple[bool, int]:
    """Return what sorts jobs by the time of an epoch; a cell of one's own, which has no fast path, takes longest."""
    settings = job.settings
    return cells.is_own(settings.cell), cells.gates(settings.cell) * settings.hidden_units
