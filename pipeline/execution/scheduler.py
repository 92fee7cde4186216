"""Train many runs with an executor: their jobs, order and results."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from pipeline import cells
from pipeline.data.splits import DataSet
from pipeline.execution.executors import Executor
from pipeline.execution.job import LOOKS, Done, Job, Opened
from pipeline.execution.progress_board import ProgressBoard
from pipeline.execution.worker_pool import Event, Failed, Finished, Message, ShouldContinue, always
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import lifecycle
from pipeline.training import naming

ROWS = 28  # of an image, to tell roughly how long a training takes


class Outcome(NamedTuple):
    """What became of the jobs: the results of those that finished, the reasons of those that failed."""

    done: Mapping[Job, Done]
    failures: Mapping[Job, str]


def planned(grid: Sequence[Settings], data: DataSet, *, parent: str, cores: int) -> list[Job]:
    """Return the jobs of a comparison, each of which may use so many cores."""
    return [
        Job.of(settings, data, name=name, parent=parent, cores=cores)
        for name, settings in zip(naming.trainings(grid, data.name), grid, strict=True)
    ]


def train_all(jobs: Sequence[Job], data: DataSet, reporter: Reporter, *, count: int, executor: Executor) -> Outcome:
    """Do the jobs on the data, ``count`` at a time; return what became of each, in their order."""
    ended: dict[Job, Event] = {}

    def keep(event: Event) -> None:
        if isinstance(event, Finished | Failed):
            ended[event.job] = event

    order = sorted(jobs, key=_size, reverse=True)  # the longest first, so that no core waits long for the last
    run_jobs(order, data, ProgressBoard(order, count), reporter, keep, count=count, executor=executor)
    events = [ended[job] for job in jobs]
    return Outcome(
        done={event.job: event.result for event in events if isinstance(event, Finished)},
        failures={event.job: event.reason for event in events if isinstance(event, Failed)},
    )


def run_jobs(
    jobs: Iterable[Job],
    data: DataSet,
    board: ProgressBoard,
    reporter: Reporter,
    take: Callable[[Event], None],
    *,
    count: int,
    executor: Executor,
    should_continue: ShouldContinue = always,
) -> None:
    """Do the jobs, ``count`` at a time; end the run of each whose process could not.

    Args:
        jobs: taken one by one as workers are free: the next one may depend on what has happened before.
        data: what they train on.
        board: shows them.
        reporter: told how far they are.
        take: given all events.
        count: number of jobs at a time.
        executor: does them.
        should_continue: answers their messages.
    """
    run_ids: dict[Job, str] = {}
    active: list[Job] = []

    def answer(job: Job, message: object) -> bool:
        """Let one of the jobs with the same fingerprint look: a search may try the same parameters twice."""
        if message == LOOKS and all(job.fingerprint != other.fingerprint for other in active):
            active.append(job)
        return should_continue(job, message) and (message != LOOKS or job in active)

    started = executor.train(jobs, data, count=count, should_continue=answer)
    with _killed_on_interruption(run_ids), closing(started) as events:
        for event in events:
            _follow(event, run_ids, active)
            take(event)
            board.update(event)
            reporter.trainings(board.rows, board.left)


@contextmanager
def _killed_on_interruption(run_ids: Mapping[Job, str]) -> Iterator[None]:
    """End runs as KILLED on Ctrl-C, if their processes took too long to do so."""
    try:
        yield
    except KeyboardInterrupt:
        for run_id in run_ids.values():
            with lifecycle.best_effort():
                lifecycle.mark_failed(run_id, lifecycle.STOPPED, status="KILLED")
        raise


def _follow(event: Event, run_ids: dict[Job, str], active: list[Job]) -> None:
    """Note which runs are open; end the run of a job that failed, since its process may have died."""
    if isinstance(event, Message) and isinstance(event.message, Opened):
        run_ids[event.job] = event.message.run_id
    elif isinstance(event, Finished | Failed):
        run_id = run_ids.pop(event.job, None)
        if event.job in active:
            active.remove(event.job)
        if run_id and isinstance(event, Failed):
            lifecycle.mark_failed(run_id, event.reason)


def _size(job: Job) -> tuple[int, bool, int]:
    """Return a key that sorts jobs roughly by their time: the steps of all layers, then what each step computes.

    A custom cell has no fast path.
    """
    settings = job.settings
    directions = 2 if settings.direction == "bidirectional" else 1
    steps = settings.steps or ROWS if settings.steps >= 0 else ROWS**2
    passes = settings.epochs * steps * settings.layers * directions
    return passes, cells.is_custom(settings.cell), cells.gates(settings.cell) * settings.hidden_units
