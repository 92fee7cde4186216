"""Jobs side by side, each in a process of its own; one that fails, or takes its process down, fails alone.

    for event in processes.run(work, jobs, count=2): ...

Processes are started anew (never forked: TensorFlow does not survive it), before
there are jobs for them if :func:`early` is asked, and do a few jobs, one after the
other. What they print goes nowhere, unless the user wants to see what the libraries
say; what they have to say they send, and are answered whether to go on.
"""

import importlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from pipeline.errors import PipelineError, of_library
from pipeline.startup import interruptible, is_verbose, relax_garbage_collection

JOBS_EACH = 8
"""Jobs that a process does before another takes its place: TensorFlow keeps some of the memory of each."""

PATIENCE = 30
"""Seconds that a process has to end its job properly when all is stopped."""

Send = Callable[[Any], bool]
"""Takes something to whoever follows the jobs, and returns whether the job is to go on."""

Work = Callable[[Any, Send], Any]
GoesOn = Callable[[Any, Any], bool]
"""Is asked with a job and what it has just sent, before that is yielded."""


class Started(NamedTuple):
    """A process has begun a job."""

    job: Any


class Said(NamedTuple):
    """A job has sent something."""

    job: Any
    message: Any


class Finished(NamedTuple):
    """A job has ended well, with its result."""

    job: Any
    result: Any


class Failed(NamedTuple):
    """A job has raised something, or its process has died."""

    job: Any
    reason: str


class Placed(NamedTuple):
    """One of several machines has taken a job."""

    job: Any
    machine: str


class Moved(NamedTuple):
    """The machine of a job was lost: the job begins again elsewhere."""

    job: Any
    reason: str


class Waited(NamedTuple):
    """Nothing has happened for a second."""


Event = Started | Placed | Said | Finished | Failed | Moved | Waited


def always(job: Any, message: Any) -> bool:
    """Let every job go on."""
    return True


def run(work: Work, jobs: Iterable[Any], *, count: int, goes_on: GoesOn = always) -> Generator[Event]:
    """Do ``work(job, send)`` for all jobs, ``count`` at a time, in their order; yield what happens.

    A job is taken from ``jobs`` when a process is free for it, after all that had happened until then was yielded: so
    the next job may depend on the results before. Closed before its end, also by Ctrl-C, it interrupts the jobs as
    Ctrl-C does and waits until they have ended.

    Args:
        work: a function of a module; it, the jobs, what it sends and its result can be pickled.
        jobs: what it is called with.
        count: of processes.
        goes_on: answers what a job sends; the job waits for it. That it is to stop is the job's to follow.
    """
    yield from keep_busy(_Team(work, goes_on), jobs, count=count)


_ready: "list[_Worker]" = []  # those that were started early and have no job yet


@contextmanager
def early(count: int, module: str) -> Iterator[None]:
    """Start processes before there are jobs for them; meanwhile they import a module, that of the work.

    They serve whichever :func:`run` comes within the block; those that none has taken end with it.
    """
    try:
        _ready.extend(_Worker(module) for _ in range(count))
        yield
    finally:
        while _ready:
            _ready.pop().discard()


class Crew(Protocol):
    """Those who do jobs, wherever that is; its length is the number of jobs that are under way."""

    def __len__(self) -> int: ...

    def begin(self, job: Any) -> None:
        """Begin a job."""

    def events(self) -> Sequence[Event]:
        """Return what happens next."""

    def stop(self) -> None:
        """Interrupt all, and wait for their end."""


def keep_busy(crew: Crew, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
    """Let a crew do jobs, ``count`` at a time, each taken when there is room for it; yield what happens."""
    todo = iter(jobs)
    try:
        while True:
            while len(crew) < count and (job := next(todo, _NONE)) is not _NONE:
                crew.begin(job)
                yield Started(job)
            if not len(crew):
                return
            yield from crew.events()
    finally:
        crew.stop()


_NONE = object()


class _Team:
    """The processes: some at a job, some free."""

    def __init__(self, work: Work, goes_on: GoesOn) -> None:
        self._work, self._goes_on = work, goes_on
        self._workers: list[_Worker] = []

    def __len__(self) -> int:
        return len(self._busy)

    @property
    def _busy(self) -> "dict[Connection, _Worker]":
        """Those that are at a job, by their connections."""
        return {worker.connection: worker for worker in self._workers if worker.is_busy}

    def begin(self, job: Any) -> None:
        """Hand a job to a process that is free, or to a new one; those that have done their share end."""
        for worker in [worker for worker in self._workers if not worker.is_busy and worker.is_spent()]:
            worker.stop()
            self._workers.remove(worker)
        free = next((worker for worker in self._workers if not worker.is_busy), None)
        if free is None:
            free = _ready.pop() if _ready else _Worker()
            self._workers.append(free)
        free.begin(self._work, job)

    def events(self) -> "list[Event]":
        """Return what happens next; that nothing does within a second is an event, too."""
        busy = self._busy
        ready = wait(list(busy), timeout=1)
        return [busy[connection].receive(self._goes_on) for connection in ready] or [Waited()]  # type: ignore[index]

    def stop(self) -> None:
        """Interrupt all, and wait for their end."""
        for worker in self._workers:
            worker.interrupt()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """A process, and what it is at."""

    def __init__(self, module: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, module), daemon=True)
        self.process.start()
        theirs.close()  # so that its end here reads as the end of the process
        self.is_busy = False
        self._job: Any = None
        self._begun = 0

    def is_spent(self) -> bool:
        """Return whether another should take its place: it has died, or done its share."""
        return self._begun >= JOBS_EACH or not self.process.is_alive()

    def begin(self, work: Work, job: Any) -> None:
        """Hand it a job."""
        self._job, self.is_busy = job, True
        self._begun += 1
        with suppress(BrokenPipeError):  # its death is noticed when its answer is waited for
            self.connection.send((work, job))

    def receive(self, goes_on: GoesOn) -> Event:
        """Return what has happened to its job."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            kind, content = Failed, f"Its process ended {_how(self.process.exitcode)}."
        self.is_busy = kind is Said
        if self.is_busy:
            with suppress(BrokenPipeError):
                self.connection.send(goes_on(self._job, content))
        event: Event = kind(self._job, content)
        return event

    def interrupt(self) -> None:
        """Interrupt what it does."""
        if self.is_busy:
            self.process.terminate()

    def discard(self) -> None:
        """End it at once: it has never had a job."""
        self.connection.close()
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        """Let it end when it has done what it does, and wait for that."""
        self.connection.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _how(exit_code: int | None) -> str:
    """Return such as 'by SIGKILL' or 'with exit code 3'."""
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def _serve(connection: Connection, module: str | None) -> None:
    """Import a module, if one is named, and do jobs until nobody has one left: the life of a process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1,) if is_verbose() else (1, 2):
        os.dup2(nowhere, stream)
    relax_garbage_collection()
    with suppress(EOFError, KeyboardInterrupt), interruptible():
        if module:
            importlib.import_module(module)
        while True:
            work, argument = connection.recv()
            answer = done(work, argument, lambda message: _say(connection, message))
            _send(connection, answer)


def done(work: Work, argument: Any, send: Send) -> tuple[type[Event], Any]:
    """Do a job; return the kind of its last event, and what that holds."""
    try:
        return Finished, work(argument, send)
    except Exception as error:
        failure = error if isinstance(error, PipelineError) else of_library(error)
        return Failed, str(failure) if failure else traceback.format_exc().strip()


def _say(connection: Connection, message: Any) -> bool:
    """Send something of a job; return the answer."""
    _send(connection, (Said, message))
    try:
        return bool(connection.recv())
    except (EOFError, ConnectionError):
        raise KeyboardInterrupt from None


def _send(connection: Connection, message: tuple[type[Event], Any]) -> None:
    """Send; that nobody listens any more is a reason to stop as Ctrl-C is."""
    try:
        connection.send(message)
    except BrokenPipeError:
        raise KeyboardInterrupt from None
