"""Train several cells with several seeds, side by side, under one MLflow run, and report which is better.

    pipeline compare --cells rnn,lstm,gru --seeds 1,2,3

A training that was done before is taken over; one that was cut off goes on. So
the same command continues a comparison that was stopped.
"""

import os
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from pipeline import digests
from pipeline.comparison import grouping
from pipeline.comparison.grouping import Group
from pipeline.data import processed
from pipeline.data.processed import DataSet
from pipeline.errors import TrainingError, UsageError
from pipeline.jobs import fingerprints, processes, resumable
from pipeline.jobs.resumable import State
from pipeline.progress import Progress, Reporter
from pipeline.records import EpochRecord
from pipeline.settings import LISTS, Settings, usable_cores
from pipeline.stages.download import download
from pipeline.stages.preprocess import preprocess
from pipeline.stages.report import report_on
from pipeline.tracking import registry, store

MEMORY = 1.5e9
"""Bytes that a training is taken to need: at the defaults, MNIST included, it is 0.9e9."""

MOST = 200
"""Trainings in a comparison: MLflow does not take the ids of more into one tag."""

MATRICES = {"rnn": 1, "gru": 3, "lstm": 4}
"""Recurrent matrices of a cell, to which its time is about proportional."""

DONE_HERE, DONE_ELSEWHERE = "ended before", "taken over"
WAITING = "waits for another process that is at it"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training, as it is handed to a process.

    Attributes:
        settings: its parameters.
        name: of its run.
        parent: the id of the comparison's run.
        dataset: the name of the processed data.
        digest: of that data.
        cores: that it may use.
    """

    settings: Settings
    name: str
    parent: str
    dataset: str
    digest: str
    cores: int


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a job leaves: the id of its run, and whether that had ended elsewhere, outside this comparison."""

    run_id: str
    taken_over: bool


def compare(
    grid: Sequence[Settings], reporter: Reporter, *, count: int | None = None, register: str | None = None
) -> str:
    """Train all that is not trained yet, report, and return the id of the comparison's run.

    Args:
        grid: the parameters of each training; they share their data.
        reporter: told how far each is.
        count: of trainings side by side; by default as many as the machine takes.
        register: the name by which the best model, by validation, is registered and, if it is better than the present
            one, made champion.

    Raises:
        DataError: the data cannot be had.
        TrackingError: the tracking server does not answer.
        TrainingError: a training failed; the others are done and reported.
        UsageError: a parameter does not fit the data, or there are too many trainings.
    """
    if len(grid) > MOST:
        raise UsageError(f"Expected at most {MOST} trainings in one comparison, received {len(grid)}. Compare fewer.")
    store.connect()
    if register is not None:
        registry.check_name(register)
    download(grid[0], reporter)
    data = preprocess(grid[0], reporter)
    own = digests.of_texts(*(fingerprints.of(settings, data) for settings in grid))
    resume = _cut_off(own, grid[0].data_dir)
    with resumable.open_run(_title(grid), grid[0].data_dir, fingerprint=own, resume=resume) as (parent, _):
        store.log_tags(parent, {"dataset": data.name, "dataset_digest": data.digest})
        store.log_parameters(parent, _shared_parameters(grid, data))
        store.add_to_comparison(parent, parent)
        count = count or _side_by_side(len(grid))
        done, failures = _train_all(_jobs(grid, data, parent, count), count, reporter)
        if done:
            groups = report_on(
                parent,
                [training.run_id for training in done],
                data_dir=grid[0].data_dir,
                output=None,
                reporter=reporter,
                taken_over=[training.run_id for training in done if training.taken_over],
                failures=failures,
            )
        if failures:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
            raise TrainingError(f"{len(failures)} of {len(grid)} trainings failed. {reasons}")
    if register is not None:
        _promote_best(grouping.recommended(groups), register, reporter)
    return parent


def _promote_best(group: Group, name: str, reporter: Reporter) -> None:
    """Register the model of the best validation accuracy in a group."""
    from pipeline.tracking.promotion import promote  # imports TensorFlow, to see that the model serves

    best = max(group.results, key=lambda result: result.metrics["best_val_accuracy"])
    promote(best.run_id, name, reporter=reporter)


def _cut_off(fingerprint: str, data_dir: Path) -> str | None:
    """Return the id of the same comparison's run that was cut off, to go on with."""
    if store.in_project_run():
        return None  # `mlflow run` has opened one for us
    twin = resumable.find_twin(fingerprint, data_dir)
    return twin.run_id if twin and twin.state is State.CUT_OFF else None


def _title(grid: Sequence[Settings]) -> str:
    return "-".join(["compare", *dict.fromkeys(settings.cell for settings in grid)])


def _shared_parameters(grid: Sequence[Settings], data: DataSet) -> dict[str, object]:
    """Return the parameters of the comparison: where its trainings differ, all values, parted by commas."""
    option_of = {name: option for option, name in LISTS.items()}
    every = [fingerprints.parameters(settings, data) for settings in grid]
    return {
        option_of.get(name, name): ",".join(dict.fromkeys(str(parameters[name]) for parameters in every))
        for name in every[0]
    }


def _side_by_side(trainings: int) -> int:
    """Return how many trainings to run at once: one per core, as far as the memory goes; one at a time on a GPU.

    Of an LSTM, two epochs side by side on one core each take about as long as one after the other on two; what is
    around the epochs then runs side by side, too. The numbers are the same. See ``benchmarks/side_by_side.py``.
    """
    if Path("/proc/driver/nvidia/gpus").exists():
        return 1
    return max(1, min(trainings, usable_cores(), int(psutil.virtual_memory().available / MEMORY)))


# --- training -------------------------------------------------------------------------------------------------------


def _jobs(grid: Sequence[Settings], data: DataSet, parent: str, count: int) -> list[Job]:
    """Return the trainings; side by side, ``count`` of them share the cores."""
    return [
        Job(
            settings=settings,
            name=_name(settings, [each for each in grid if each.cell == settings.cell]),
            parent=parent,
            dataset=data.name,
            digest=data.digest,
            cores=max(1, usable_cores() // count),
        )
        for settings in grid
    ]


def _name(settings: Settings, of_cell: Sequence[Settings]) -> str:
    """Return such as ``gru-s1``, with what else differs among the trainings of its cell."""
    varied = [name for name in ("learning_rate", "hidden_units") if len({getattr(each, name) for each in of_cell}) > 1]
    return "-".join([settings.cell, *(f"{name}={getattr(settings, name)}" for name in varied), f"s{settings.seed}"])


def _train_all(jobs: Sequence[Job], count: int, reporter: Reporter) -> tuple[list[Done], dict[str, str]]:
    """Return what the jobs leave, in their order, and the reasons of those that failed, by their names."""
    # The longest first, so that no core waits long for the last.
    order = sorted(jobs, key=lambda job: MATRICES[job.settings.cell] * job.settings.hidden_units, reverse=True)
    board = _Board(order, count)
    done: dict[str, Done] = {}
    failures: dict[str, str] = {}
    with closing(processes.run(train_one, order, count=count)) as events:
        for event in events:
            if isinstance(event, processes.Finished):
                done[order[event.job].name] = event.result
            elif isinstance(event, processes.Failed):
                failures[order[event.job].name] = event.reason
            elif isinstance(event, processes.Said) and isinstance(event.message, Opened):
                store.add_child(order[event.job].parent, event.message.run_id)
            board.take(event)
            reporter.trainings(board.rows, board.left())
    names = [job.name for job in jobs]
    return [done[name] for name in names if name in done], {name: failures[name] for name in names if name in failures}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A job says which run it works on, and what it does there."""

    run_id: str
    state: str


def train_one(job: Job, send: processes.Send) -> Done:
    """Do in a process of its own what is left to do of one training.

    Sends :class:`Opened` once, then an :class:`EpochRecord` per epoch; a text is a state.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # of the comparison: the training has a run of its own
    import keras

    from pipeline.stages.run import fit_and_evaluate
    from pipeline.stages.train import open_training

    keras.backend.clear_session()  # forgets the training before
    data = processed.find_by_digest(job.settings.data_dir, job.dataset, job.digest)
    twin = _twin(job, data, send)
    if twin and twin.state is State.ENDED:
        own = store.is_child(store.get_run(twin.run_id), job.parent)
        send(Opened(run_id=twin.run_id, state=DONE_HERE if own else DONE_ELSEWHERE))
        store.add_to_comparison(twin.run_id, job.parent)
        return Done(run_id=twin.run_id, taken_over=not own)
    resume = twin.run_id if twin else None
    parent = None if twin else job.parent
    with open_training(job.settings, data, name=job.name, parent=parent, resume=resume, cores=job.cores) as opened:
        send(Opened(run_id=opened.run_id, state="goes on" if twin else "trains"))
        store.add_to_comparison(opened.run_id, job.parent)
        fit_and_evaluate(opened, _Sender(send))
    return Done(run_id=opened.run_id, taken_over=False)


def _twin(job: Job, data: DataSet, send: processes.Send) -> resumable.Twin | None:
    """Return the run that is the same training, as soon as no other process is at it."""
    fingerprint = fingerprints.of(job.settings, data)
    while twin := resumable.find_twin(fingerprint, job.settings.data_dir):
        if twin.state is not State.HELD:
            return twin
        send(WAITING)
        time.sleep(1)
    return None


class _Sender(Reporter):
    """Sends the epochs to the process that draws."""

    def __init__(self, send: processes.Send) -> None:
        self._send = send

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        self._send(record)
        if record.epoch == epochs:
            self._send("evaluates")


# --- how far it is --------------------------------------------------------------------------------------------------


class _Board:
    """How far the jobs are, from what they send."""

    def __init__(self, jobs: Sequence[Job], count: int) -> None:
        self.rows = [Progress(name=job.name, epochs=job.settings.epochs) for job in jobs]
        self._kinds = [replace(job.settings, seed=0) for job in jobs]
        self._count = count
        self._began: dict[int, float] = {}
        self._ended: set[int] = set()
        self._paces: dict[Settings, list[float]] = {}

    def take(self, event: processes.Event) -> None:
        """Enter what has happened."""
        now = time.monotonic()
        if isinstance(event, processes.Said):
            self._hear(event.job, event.message)
        elif isinstance(event, processes.Started):
            self._began[event.job] = now
            self.rows[event.job].state = "starts"
        elif not isinstance(event, processes.Waited):
            self._end(event)
        for job, began in self._began.items():
            self.rows[job].seconds = now - began
        for job, row in enumerate(self.rows):
            row.left = self._left(job)

    def left(self) -> float | None:
        """Return the seconds until all have ended; None until each kind of training has shown its pace."""
        known = [row.left for row in self.rows if row.left is not None]
        return sum(known) / self._count if len(known) == len(self.rows) else None

    def _hear(self, job: int, message: object) -> None:
        row = self.rows[job]
        if isinstance(message, EpochRecord):
            row.record = message
            self._paces.setdefault(self._kinds[job], []).append(message.epoch_seconds)
        else:
            row.state = message.state if isinstance(message, Opened) else str(message)

    def _end(self, event: processes.Finished | processes.Failed) -> None:
        row = self.rows[event.job]
        del self._began[event.job]
        self._ended.add(event.job)
        if isinstance(event, processes.Failed):
            row.state = "failed"
        elif row.state not in (DONE_HERE, DONE_ELSEWHERE):
            row.state = "ended"

    def _left(self, job: int) -> float | None:
        row, paces = self.rows[job], self._paces.get(self._kinds[job])
        if job in self._ended:
            return 0.0
        if not paces:
            return None
        return statistics.median(paces) * (row.epochs - (row.record.epoch if row.record else 0))
