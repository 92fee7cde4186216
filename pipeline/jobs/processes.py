"""Jobs side by side, each in a process of its own; one that fails, or takes its process down, fails alone.

    for event in workers.run(work, jobs, count=2): ...

Processes are started anew (never forked: TensorFlow does not survive it) and
do a few jobs, one after the other. What they print goes nowhere; what they have to say
they send.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, NoReturn

from pipeline.errors import PipelineError

JOBS_EACH = 8
"""Jobs that a process does before another takes its place: TensorFlow keeps some of the memory of each."""

PATIENCE = 30
"""Seconds that a process has to end its job properly when all is stopped."""

Send = Callable[[Any], None]
Work = Callable[[Any, Send], Any]


class Started(NamedTuple):
    """A process has begun a job; ``job`` is its position."""

    job: int


class Said(NamedTuple):
    """A job has sent something."""

    job: int
    message: Any


class Finished(NamedTuple):
    """A job has ended well, with its result."""

    job: int
    result: Any


class Failed(NamedTuple):
    """A job has raised something, or its process has died."""

    job: int
    reason: str


class Waited(NamedTuple):
    """Nothing has happened for a second."""


Event = Started | Said | Finished | Failed | Waited


def run(work: Work, jobs: Sequence[Any], *, count: int) -> Generator[Event]:
    """Do ``work(job, send)`` for all jobs, ``count`` at a time, in their order; yield what happens.

    Closed before its end, also by Ctrl-C, it interrupts the jobs as Ctrl-C does and waits until they have ended.

    Args:
        work: a function of a module; it, the jobs, what it sends and its result can be pickled.
        jobs: what it is called with.
        count: of processes.
    """
    todo = list(range(len(jobs)))[::-1]
    team: list[_Worker] = []
    try:
        team = [_Worker(work) for _ in range(min(count, len(jobs)))]
        while todo or any(worker.job is not None for worker in team):
            for number, worker in enumerate(team):
                if todo and worker.job is None and worker.is_spent():
                    worker.stop()
                    team[number] = _Worker(work)
            for worker in team:
                if todo and worker.job is None:
                    job = todo.pop()
                    worker.begin(job, jobs[job])
                    yield Started(job)
            busy = {worker.connection: worker for worker in team if worker.job is not None}
            ready = wait(list(busy), timeout=1)
            if not ready:
                yield Waited()
            for connection in ready:
                yield busy[connection].receive()  # type: ignore[index] # wait gives back what it was given
    finally:
        for worker in team:
            worker.stop()


class _Worker:
    """A process, and what it is at."""

    def __init__(self, work: Work) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that its end here reads as the end of the process
        self.job: int | None = None
        self.begun = 0

    def is_spent(self) -> bool:
        """Return whether another should take its place: it has died, or done its share."""
        return self.begun >= JOBS_EACH or not self.process.is_alive()

    def begin(self, job: int, argument: Any) -> None:
        """Hand it a job."""
        self.job = job
        self.begun += 1
        with suppress(BrokenPipeError):  # its death is noticed when its answer is waited for
            self.connection.send(argument)

    def receive(self) -> Event:
        """Return what has happened to its job."""
        job = self.job
        assert job is not None  # noqa: S101 - for the type checker: only the busy are asked
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            kind, content = Failed, f"Its process ended {_how(self.process.exitcode)}."
        if kind is not Said:
            self.job = None
        event: Event = kind(job, content)
        return event

    def stop(self) -> None:
        """Interrupt what it does, and wait for its end."""
        self.connection.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _how(exit_code: int | None) -> str:
    """Return such as 'by SIGKILL' or 'with exit code 3'."""
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"


def _serve(work: Work, connection: Connection) -> None:
    """Do jobs until nobody has one left: the life of a process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            argument = connection.recv()
            answer = _do(work, argument, lambda message: _send(connection, (Said, message)))
            _send(connection, answer)


def _do(work: Work, argument: Any, send: Send) -> tuple[type[Event], Any]:
    try:
        return Finished, work(argument, send)
    except PipelineError as error:
        return Failed, str(error)
    except Exception:
        return Failed, traceback.format_exc().strip()


def _send(connection: Connection, message: tuple[type[Event], Any]) -> None:
    """Send; that nobody listens any more is a reason to stop as Ctrl-C is."""
    try:
        connection.send(message)
    except BrokenPipeError:
        raise KeyboardInterrupt from None


def _interrupt(*_: object) -> NoReturn:
    """Interrupt once: what follows must not disturb the marking of the run."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
