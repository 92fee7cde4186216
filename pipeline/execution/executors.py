"""Run jobs in processes of this machine or of a cluster, and isolate their failures.

    with open_executor("local") as executor:
        executor.run(work, jobs, count=2, take=print)

Processes are spawned, since TensorFlow does not survive a fork, and each does a few jobs, one after the other. Their
output is dropped unless the user wants to see messages of libraries. A job sends messages, and each is answered.
A further kind of executor, such as one for Dask, is a subclass of :class:`Executor` with its own :class:`Worker`, in a
module like ``ray_executor.py``, and a branch in :func:`open_executor`.
"""

import gc
import importlib
import importlib.util
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.errors import PipelineError, UsageError, of_library
from pipeline.machine import free_memory, usable_cores
from pipeline.startup import interruptible, is_verbose, relax_garbage_collection

LOCAL = "local"

JOBS_EACH = 24
"""Number of jobs after which a process is replaced: TensorFlow keeps some of the memory of each."""

STOP_SECONDS = 30
"""Seconds that a process has to end its job when all are stopped."""

MEMORY = 1.5e9
"""Bytes of memory that a run is assumed to need; at the defaults, MNIST included, it needs 0.9e9."""

Send = Callable[[Any], bool]
"""Sends a message to the process that started the job; returns whether the job should continue."""

Work = Callable[[Any, Send], Any]

Kind = Literal["started", "message", "finished", "failed", "rescheduled", "tick"]


class Event(NamedTuple):
    """Something that has happened to a job.

    Attributes:
        kind: ``rescheduled`` means that the process of the job was lost, so the job starts again; ``tick`` means that
            nothing has happened for a second.
        job: the job; None for a tick.
        content: what the job has sent, its result, or the reason why it failed; when it has started, the name of its
            machine, which is empty if there is only one.
    """

    kind: Kind
    job: Any = None
    content: Any = None


Take = Callable[[Event], bool | None]
"""Receives an event; after a message, False ends its job."""


def open_executor(on: str, *, tracks: bool = True) -> AbstractContextManager["Executor"]:
    """Return a context with the executor that an option names; it is connected within the context.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        UsageError: it is none of these, there is no such cluster, or another command trains on it.
        TrackingError: other machines cannot reach the tracking server.
    """
    if on == LOCAL:
        return nullcontext(Executor())
    if on != "ray" and not on.startswith("ray://"):
        raise UsageError(f"on: must be local, ray or an address such as ray://HOST:10001; got {on!r}.")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("on: ray needs the package Ray, which is not installed. Try pip install -e '.[ray]'.")
    ray_executor: Any = importlib.import_module("pipeline.execution.ray_executor")  # it imports this module, and Ray
    connected: AbstractContextManager[Executor] = ray_executor.connected(on, tracks=tracks)
    return connected


@dataclass(frozen=True)
class FileRef:
    """A file or folder of the machine where a command was typed, as jobs get it; can be pickled."""

    path: Path

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give a path at which the calling process can read it."""
        yield self.path


class Executor:
    """Runs jobs in processes of this machine."""

    remote = False
    """Whether its processes share no disk: checkpoints are then artifacts of their runs, and there are no locks."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []  # they wait for the next call of `run`, because a process takes seconds to start

    def default_workers(self, trainings: int) -> int:
        """Return how many runs to train at the same time: one per core if the memory suffices; one on a GPU.

        Two epochs of an LSTM on one core each take about as long as one after the other on two cores, and all other
        work then also runs in parallel. The numbers are the same. See ``benchmarks/side_by_side.py``.
        """
        if Path("/proc/driver/nvidia/gpus").exists():
            return 1
        return max(1, min(trainings, usable_cores(), int(free_memory() / MEMORY)))

    def cores(self, count: int) -> int:
        """Return the number of cores that each of ``count`` runs may use."""
        return max(1, usable_cores() // count)

    def file_ref(self, path: Path) -> FileRef:
        """Return a file or folder of this machine as jobs get it."""
        return FileRef(path.absolute())

    def worker(self, count: int) -> "Worker":
        """Return a process that has no job yet, one of ``count``."""
        return Worker()

    def ready(self, handles: list[Any]) -> Collection[Any]:
        """Return the handles of workers with something to receive; none if nothing has come within a second."""
        return wait(handles, timeout=1)

    def run(self, work: Work, jobs: Iterable[Any], *, count: int, take: Take) -> None:
        """Do jobs in their order, ``count`` at a time.

        On any error, also on Ctrl-C, it interrupts the jobs and waits for their end.

        Args:
            work: a function of a module, called with a job; the work, jobs, messages and results can be pickled.
            jobs: the jobs; each is taken when a worker is free, after all events before, so that it may depend on them.
            count: number of jobs at a time.
            take: receives what happens; a job waits after each message, until it is taken.
        """
        todo, busy, idle = iter(jobs), list[Worker](), self._idle
        try:
            while True:
                for job in islice(todo, count - len(busy)):
                    busy.append(worker := idle.pop() if idle else self.worker(count))
                    worker.job, worker.jobs_left = job, worker.jobs_left - 1
                    worker.start(work)
                if not busy:
                    return
                _end(idle)  # other jobs may wait for their cores
                if not (ready := self.ready([worker.handle for worker in busy])):
                    take(Event("tick"))
                for worker in [each for each in busy if each.handle in ready]:
                    event = worker.receive()
                    if event.kind in ("finished", "failed", "rescheduled"):
                        busy.remove(worker)
                        if worker.jobs_left:
                            idle.append(worker)
                        else:
                            worker.end()
                    if event.kind == "rescheduled":
                        todo = chain([worker.job], todo)
                    should_continue = take(event) is not False
                    if event.kind == "message":
                        worker.answer(should_continue)
        finally:
            for worker in busy:
                worker.interrupt()
            _end(busy)


def _end(workers: "list[Worker]") -> None:
    """End workers, and remove them from the list."""
    while workers:
        workers.pop().end()


class Worker:
    """A process of this machine.

    Attributes:
        handle: handle to wait for its messages.
        job: the job that it works on.
        jobs_left: number of further jobs that it takes; 0 if it has died.
    """

    handle: Any
    job: Any = None
    jobs_left = JOBS_EACH

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.handle, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that this process notices the end of the other

    def start(self, work: Work) -> None:
        """Start its job."""
        with suppress(BrokenPipeError):  # receive() notices the death of the process
            self.handle.send((work, self.job))

    def receive(self) -> Event:
        """Return what has happened to its job; a message has to be answered."""
        try:
            kind, content = self.handle.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            self.jobs_left, code = 0, self._process.exitcode or 0
            reason = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            return Event("failed", self.job, f"Its process ended {reason}.")
        return Event(kind, self.job, content)

    def answer(self, should_continue: bool) -> None:
        """Answer the last message of its job."""
        with suppress(BrokenPipeError):
            self.handle.send(should_continue)

    def interrupt(self) -> None:
        """Interrupt its job, as Ctrl-C does."""
        self._process.terminate()

    def end(self) -> None:
        """Let it finish its work, and kill it if that takes too long."""
        self.handle.close()
        self._process.join(STOP_SECONDS)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection) -> None:
    """Do jobs in a process until the connection is closed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1,) if is_verbose() else (1, 2):
        os.dup2(nowhere, stream)
    relax_garbage_collection()
    with suppress(EOFError, ConnectionError, KeyboardInterrupt), interruptible():
        while True:
            work, job = connection.recv()
            connection.send(("started", ""))
            connection.send(outcome(work, job, lambda message: _ask(connection, message)))


def outcome(work: Work, job: Any, send: Send) -> tuple[Kind, Any]:
    """Do a job; return the kind of its last event, and its result or the reason why it failed."""
    try:
        return "finished", work(job, send)
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        return "failed", str(failure) if failure else traceback.format_exc().strip()
    finally:
        gc.collect()  # the graphs of a run refer to themselves, and garbage is rarely collected otherwise


def _ask(connection: Connection, message: Any) -> bool:
    """Send a message and return the answer; if no process listens any more, interrupt the job as Ctrl-C does."""
    try:
        connection.send(("message", message))
        return bool(connection.recv())
    except (EOFError, ConnectionError):
        raise KeyboardInterrupt from None
