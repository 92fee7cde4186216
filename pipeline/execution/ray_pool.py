"""Jobs side by side on the nodes of a Ray cluster; one that fails fails alone, one whose node is lost goes elsewhere.

    for event in ray.run(work, jobs, count=8): ...

The same events as of :mod:`pipeline.execution.worker_pool`, and :class:`Moved`. A job is a plain task, which Ray does
not repeat by itself. What it has to say it leaves in a mailbox beside the driver, and waits there for the driver's
answer: to go on or to end here, to stop as after Ctrl-C, or that another attempt has taken its place, which ends the
process at once. Messages are few (one per epoch), so that one actor serves a thousand jobs.
"""

import asyncio
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from pipeline.errors import first_line
from pipeline.execution import ray_nodes, worker_pool
from pipeline.execution.worker_pool import JOBS_EACH, PATIENCE, Event, Failed, GoesOn, Moved, Placed, Said, Work, always

GO, ENOUGH, STOP, FENCED = "go", "enough", "stop", "fenced"
"""What a message is answered: go on; it is enough; stop as after Ctrl-C; another attempt has taken your place."""

MOVES = 10
"""Nodes that a job may lose before it fails: it may be what takes them down."""


class Claim(NamedTuple):
    """What each job claims of its node: cores and GPUs."""

    cores: int = 1
    gpus: int = 0


ONE_CORE = Claim()


def run(
    work: Work, jobs: Iterable[Any], *, count: int, goes_on: GoesOn = always, claim: Claim = ONE_CORE
) -> Generator[Event]:
    """Do ``work(job, send)`` for all jobs, ``count`` at a time, in their order; yield what happens.

    As :func:`pipeline.execution.workers.run`; closed before its end, it interrupts the jobs and waits until they have
    ended.

    Args:
        work: a function of a module; it, the jobs, what it sends and its result can be pickled.
        jobs: what it is called with.
        count: of jobs at once, as far as the cluster has room for what they claim.
        goes_on: answers what a job sends; the job waits for it.
        claim: of each job.
    """
    yield from worker_pool.keep_busy(_Crew(work, goes_on, claim), jobs, count=count)


class Begun(NamedTuple):
    """The first message of a task: the id of the node that it is on."""

    node: str


# --- on the nodes ---------------------------------------------------------------------------------------------------


class _Mailbox:
    """Takes what tasks have to say, hands it to the driver, and the driver's answers to the tasks; an actor."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, Any]] = []
        self._arrived = asyncio.Event()
        self._attempts: dict[int, int] = {}
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._stopped: set[int] = set()

    async def begin(self, number: int, attempt: int) -> None:
        """Let only this attempt of a task speak from now on."""
        self._attempts[number] = attempt
        await self.answer(number, FENCED)

    async def put(self, number: int, attempt: int, message: Any) -> str:
        """Take a message that needs no answer, unless another attempt has taken the place."""
        if self._attempts.get(number) != attempt:
            return FENCED
        self._messages.append((number, message))
        self._arrived.set()
        return GO

    async def ask(self, number: int, attempt: int, message: Any) -> str:
        """Take a message, and return its answer when there is one."""
        if number in self._stopped:
            return STOP
        if await self.put(number, attempt, message) == FENCED:  # before it takes the place of who waits for an answer
            return FENCED
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        return str(await waiting)

    async def answer(self, number: int, answer: str) -> None:
        """Answer the message of a task that waits for it."""
        waiting = self._answers.pop(number, None)
        if waiting and not waiting.done():
            waiting.set_result(answer)

    async def stop(self, number: int) -> None:
        """Answer what a task says, and what it says from now on, that it is to stop."""
        self._stopped.add(number)
        await self.answer(number, STOP)

    async def take(self, seconds: float) -> list[tuple[int, Any]]:
        """Return the messages by the numbers of their tasks, when there are any or the seconds have passed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), seconds)
        self._arrived.clear()
        taken, self._messages = self._messages, []
        return taken


def _attempt(work: Work, job: Any, number: int, attempt: int, mailbox: Any) -> None:
    """Do a job on a node: all that comes of it goes through the mailbox."""
    import ray

    def call(method: Any, message: Any) -> str:
        answer = str(ray.get(method.remote(number, attempt, message)))
        if answer == FENCED:
            os._exit(1)  # the other attempt is at the run: nothing more may be logged, not even that this one ends
        return answer

    def send(message: Any) -> bool:
        answer = call(mailbox.ask, (Said, message))
        if answer == STOP:
            _be_interrupted()
        return answer == GO

    try:
        call(mailbox.put, (Begun, ray.get_runtime_context().get_node_id()))
        call(mailbox.put, worker_pool.done(work, job, send))
    except KeyboardInterrupt:
        call(mailbox.put, (Failed, "Stopped."))


def _be_interrupted() -> NoReturn:
    """Raise KeyboardInterrupt once: that of Ray, which comes with the answer to stop, or this one where it was lost.

    A second one would hit the job while it tidies up. Ray's is lost where it falls into a callback within Ray.
    """
    for _ in range(30):
        time.sleep(0.1)  # Ray interrupts between two statements
    raise KeyboardInterrupt


# --- beside them, the driver ----------------------------------------------------------------------------------------


@dataclass
class _Task:
    """A job that was handed to the machines."""

    job: Any
    attempt: int = 0
    reference: Any = None
    node: str | None = None  # None: it waits for one


@dataclass
class _Crew:
    """The tasks that are under way, by their numbers."""

    work: Work
    goes_on: GoesOn
    claim: Claim
    tasks: dict[int, _Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        here = On(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        decorate: Any = ray.remote(max_retries=0, max_calls=JOBS_EACH)
        self._do = decorate(_attempt)
        self._begun = 0

    def __len__(self) -> int:
        return len(self.tasks)

    def begin(self, job: Any) -> None:
        """Hand a job to the cluster, which finds a node for it."""
        self._begun += 1
        self.tasks[self._begun] = task = _Task(job)
        self._submit(self._begun, task)

    def _submit(self, number: int, task: _Task) -> None:
        import ray

        task.attempt, task.node = task.attempt + 1, None
        ray.get(self._mailbox.begin.remote(number, task.attempt))
        cores = max(1, min(self.claim.cores, ray_nodes.most("CPU")))  # the largest node may be the one that was lost
        do = self._do.options(num_cpus=cores, num_gpus=self.claim.gpus)
        task.reference = do.remote(self.work, task.job, number, task.attempt, self._mailbox)

    def events(self) -> list[Event]:
        """Return what happens next; that nothing does within a second is an event, too."""
        over = self._over()  # first: what these have said is in the mailbox by now
        events = list(self._said(0.0 if over else 1.0))
        events += [self._lost(number) for number in over if number in self.tasks]
        return events or [worker_pool.Waited()]

    def _over(self) -> list[int]:
        """Return the numbers of the tasks that have ended, however."""
        import ray

        numbers = {task.reference: number for number, task in self.tasks.items()}
        ready, _ = ray.wait(list(numbers), num_returns=len(numbers), timeout=0, fetch_local=False)
        return [numbers[reference] for reference in ready]

    def _said(self, seconds: float) -> Iterator[Event]:
        import ray

        for number, (kind, content) in ray.get(self._mailbox.take.remote(seconds)):
            task = self.tasks.get(number)
            if task is None:
                continue
            if kind is Begun:
                task.node = content
                if name := ray_nodes.name_among_others(content):
                    yield Placed(task.job, name)
            else:
                if kind is Said:
                    answer = GO if self.goes_on(task.job, content) else ENOUGH
                    self._mailbox.answer.remote(number, answer)
                else:
                    del self.tasks[number]
                yield kind(task.job, content)

    def _lost(self, number: int) -> Event:
        """Return what became of a task that has ended without a word: it is moved if its node was lost."""
        import ray
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

        task = self.tasks[number]
        try:
            ray.get(task.reference)
            reason = "It ended without a word."
        except OutOfMemoryError:
            reason = "Ray ended it, because the memory of its node ran out. Run fewer trainings at once: --workers."
        except NodeDiedError:
            return self._moved(number, task)
        except WorkerCrashedError as error:
            if task.node and ray_nodes.has_died(task.node):
                return self._moved(number, task)
            reason = f"Its process ended on its node: {first_line(error)}"
        except RayError as error:
            reason = f"Ray could not do it: {str(error).strip().splitlines()[-1]}"
        del self.tasks[number]
        return Failed(task.job, reason)

    def _moved(self, number: int, task: _Task) -> Event:
        if task.attempt > MOVES:
            del self.tasks[number]
            return Failed(task.job, f"{task.attempt} nodes were lost while they did it: it may be the reason.")
        self._submit(number, task)
        return Moved(task.job, "Its node was lost.")

    def stop(self) -> None:
        """Interrupt all, and wait for their end."""
        import ray

        if self.tasks:
            for number, task in self.tasks.items():
                self._mailbox.stop.remote(number)
                ray.cancel(task.reference, recursive=False)  # its last words are calls, too
            deadline = time.monotonic() + PATIENCE
            while self.tasks and time.monotonic() < deadline:
                over = self._over()
                list(self._said(0.2))
                for number in over:  # of a task that was cancelled this is known while it still tidies up
                    if number in self.tasks and not self._tidies_up(self.tasks[number]):
                        del self.tasks[number]
            for task in self.tasks.values():
                ray.cancel(task.reference, force=True)
        ray.kill(self._mailbox)

    def _tidies_up(self, task: _Task) -> bool:
        return task.node is not None and ray_nodes.lives(task.node)
