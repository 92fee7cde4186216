"""Run jobs in processes of this machine, and isolate their failures.

    for event in run_in(WorkerPool(work), jobs, count=2): ...

Processes are spawned, since TensorFlow does not survive a fork, and each does a few jobs, one after the other. What
they print is dropped unless the user wants to see what the libraries say. A job sends messages, and each is answered.
:class:`Pool` is what another kind of worker has to provide: see ``ray_pool.py``.
"""

import gc
import importlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.errors import PipelineError, of_library
from pipeline.machine import free_memory, usable_cores
from pipeline.startup import interruptible, is_verbose, relax_garbage_collection

JOBS_EACH = 24
"""Jobs that a process does before another takes its place: TensorFlow keeps some of the memory of each."""

STOP_SECONDS = 30
"""Seconds that a process has to end its job when all are stopped."""

MEMORY = 1.5e9
"""Bytes that a training is assumed to need; at the defaults, MNIST included, it needs 0.9e9."""

Send = Callable[[Any], bool]
"""Sends a message to the process that started the job; returns whether the job should continue."""

Work = Callable[[Any, Send], Any]
ShouldContinue = Callable[[Any, Any], bool]
"""Is called with a job and a message of it, before that is yielded; returns whether the job should continue."""


class Started(NamedTuple):
    """A job was handed to a worker."""

    job: Any


class Scheduled(NamedTuple):
    """A job runs on a machine; its name is empty if there is only one."""

    job: Any
    machine: str


class Message(NamedTuple):
    """A job has sent something."""

    job: Any
    message: Any


class Finished(NamedTuple):
    """A job has returned a result."""

    job: Any
    result: Any


class Failed(NamedTuple):
    """A job has raised an error, or its process has died."""

    job: Any
    reason: str


class Rescheduled(NamedTuple):
    """The machine of a job was lost: the job starts again on another."""

    job: Any


class Tick(NamedTuple):
    """Nothing has happened for a second."""


Event = Started | Scheduled | Message | Finished | Failed | Rescheduled | Tick


def always(job: Any, message: Any) -> bool:
    """Let every job continue."""
    return True


def default_workers(trainings: int) -> int:
    """Return how many trainings to run at a time: one per core, as far as the memory suffices; one on a GPU.

    Two epochs of an LSTM on one core each take about as long as one after the other on two cores, and what is around
    the epochs then runs in parallel, too. The numbers are the same. See ``benchmarks/side_by_side.py``.
    """
    if Path("/proc/driver/nvidia/gpus").exists():
        return 1
    return max(1, min(trainings, usable_cores(), int(free_memory() / MEMORY)))


class Pool(Protocol):
    """Does jobs; its length is the number of jobs that are running."""

    def __len__(self) -> int: ...

    def start(self, job: Any) -> None:
        """Start a job."""

    def events(self) -> Sequence[Event]:
        """Return what happens next; a :class:`Tick` if nothing does within a second."""

    def stop(self) -> None:
        """Interrupt all jobs, and wait until they have ended."""


def run_in(pool: Pool, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
    """Let a pool do jobs in their order, ``count`` at a time; yield what happens.

    A job is taken from ``jobs`` when a worker is free, and after everything before was yielded: the next job may depend
    on the results so far. If closed before its end, also by Ctrl-C, it interrupts the jobs and waits for their end.
    """
    todo = iter(jobs)
    try:
        while True:
            while len(pool) < count and (job := next(todo, _NONE)) is not _NONE:
                pool.start(job)
                yield Started(job)
            if not len(pool):
                return
            yield from pool.events()
    finally:
        pool.stop()


_NONE = object()
_prewarmed: "list[_Worker]" = []


@contextmanager
def prewarm(count: int, module: str) -> Iterator[None]:
    """Start processes before there are jobs; they import ``module``. Those that got no job end with the block."""
    try:
        _prewarmed.extend(_Worker(module) for _ in range(count))
        yield
    finally:
        while _prewarmed:
            _prewarmed.pop().end(seconds=0)


class WorkerPool:
    """Processes of this machine that do jobs.

    Args:
        work: a function of a module, called with a job; it, the jobs, their messages and results can be pickled.
        should_continue: answers the messages; the job waits for it, and has to follow it.
    """

    def __init__(self, work: Work, should_continue: ShouldContinue = always) -> None:
        self._work, self._should_continue = work, should_continue
        self._busy: dict[Any, _Worker] = {}  # by their connections
        self._idle: list[_Worker] = []

    def __len__(self) -> int:
        return len(self._busy)

    def start(self, job: Any) -> None:
        """Hand a job to an idle process or to a new one."""
        idle = self._idle or _prewarmed
        worker = idle.pop() if idle else _Worker()
        worker.start(self._work, job)
        self._busy[worker.connection] = worker

    def events(self) -> list[Event]:
        """Return what happens next."""
        ready = wait(list(self._busy), timeout=1)
        return [self._received(self._busy[connection]) for connection in ready] or [Tick()]

    def _received(self, worker: "_Worker") -> Event:
        event = worker.receive(self._should_continue)
        if not isinstance(event, Message):
            del self._busy[worker.connection]
            if worker.is_spent():
                worker.end()
            else:
                self._idle.append(worker)
        return event

    def stop(self) -> None:
        """Interrupt all jobs, and wait until their processes have ended."""
        for worker in self._busy.values():
            worker.process.terminate()
        for worker in [*self._busy.values(), *self._idle]:
            worker.end()


class _Worker:
    """A process and its job."""

    def __init__(self, module: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, module), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed here
        self._job: Any = None
        self._started = 0

    def is_spent(self) -> bool:
        """Return whether another process should take its place: it has died, or done its share."""
        return self._started >= JOBS_EACH or not self.process.is_alive()

    def start(self, work: Work, job: Any) -> None:
        """Hand it a job."""
        self._job = job
        self._started += 1
        with suppress(BrokenPipeError):  # its death is noticed in receive()
            self.connection.send((work, job))

    def receive(self, should_continue: ShouldContinue) -> Event:
        """Return what has happened to its job."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Failed(self._job, f"Its process ended {_reason(self.process.exitcode)}.")
        if kind is Message:
            with suppress(BrokenPipeError):
                self.connection.send(should_continue(self._job, content))
        event: Event = kind(self._job, content)
        return event

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """Let it end after what it does, and kill it if that takes longer than some seconds."""
        self.connection.close()
        self.process.join(seconds)
        self.process.kill()
        self.process.join()


def _reason(exit_code: int | None) -> str:
    """Return such as 'by SIGKILL' or 'with exit code 3'."""
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def _serve(connection: Connection, module: str | None) -> None:
    """Import a module, if one is named, and do jobs until the connection is closed: what a process runs."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1,) if is_verbose() else (1, 2):
        os.dup2(nowhere, stream)
    relax_garbage_collection()
    with suppress(EOFError, ConnectionError, KeyboardInterrupt), interruptible():
        if module:
            importlib.import_module(module)
        while True:
            work, job = connection.recv()
            connection.send(outcome(work, job, lambda message: _ask(connection, message)))


def outcome(work: Work, job: Any, send: Send) -> tuple[type[Event], Any]:
    """Do a job; return the kind of its last event, and its result or the reason why it failed."""
    try:
        return Finished, work(job, send)
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        return Failed, str(failure) if failure else traceback.format_exc().strip()
    finally:
        gc.collect()  # the graphs of a training refer to themselves, and it is rarely collected by itself


def _ask(connection: Connection, message: Any) -> bool:
    """Send a message and return the answer; if no process listens any more, interrupt the job as Ctrl-C does."""
    try:
        connection.send((Message, message))
        return bool(connection.recv())
    except (EOFError, ConnectionError):
        raise KeyboardInterrupt from None
