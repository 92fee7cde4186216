"""Run jobs as tasks on a Ray cluster; isolate failures, and restart the jobs of a lost node.

It yields the events of ``worker_pool.py``. Ray itself repeats no task. A task sends its messages, its result included,
to a mailbox, an actor next to the driver, and waits there for the driver's answer: to continue, to finish early, to
stop as on Ctrl-C, or that another attempt at the same job has replaced it, which ends its process immediately. There is
one message per epoch, so that one mailbox suffices for a thousand jobs.
"""

import asyncio
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import first_line
from pipeline.execution import worker_pool
from pipeline.execution.worker_pool import (
    JOBS_EACH,
    STOP_SECONDS,
    Event,
    Failed,
    Message,
    Rescheduled,
    Scheduled,
    ShouldContinue,
    Tick,
    Work,
)

CONTINUE, FINISH, STOP, FENCED = "continue", "finish", "stop", "fenced"
"""The answers to a message; the last one says that another attempt has replaced the one that asks."""

ATTEMPTS = 10
"""Nodes that a job may lose until it fails: it may be the reason."""

SETTLED = 6.0
"""Seconds until it is known whether a process has died with its node."""


def living_nodes() -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    return [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]


def most(resource: str) -> int:
    """Return how much of a resource, such as CPU, the largest node has."""
    return max((int(each["Resources"].get(resource, 0)) for each in living_nodes()), default=0)


def _has_died(node: str) -> bool:
    """Return whether a node has died, which may be noticed some seconds after the death of a process on it."""
    deadline = time.monotonic() + SETTLED
    while (lives := any(node == each["NodeID"] for each in living_nodes())) and time.monotonic() < deadline:
        time.sleep(0.5)
    return not lives


# --- the mailbox, and the tasks on the nodes ------------------------------------------------------------------------


class Mailbox:
    """Hands the messages of tasks to the driver, and its answers to the tasks; an actor.

    Each attempt at a job has a token of its own, by which its messages are known and answered.
    """

    def __init__(self) -> None:
        self._messages: asyncio.Queue[tuple[str, Any, Any]] = asyncio.Queue()
        self._answers: dict[str, asyncio.Future[str]] = {}

    async def ask(self, token: str, kind: Any, content: Any) -> str:
        """Take a message, and return its answer when there is one."""
        self._answers[token] = asyncio.get_running_loop().create_future()
        await self._messages.put((token, kind, content))
        return await self._answers[token]

    async def take(self, seconds: float) -> list[tuple[str, Any, Any]]:
        """Return the messages that have arrived, at the latest after some seconds."""
        messages = []
        with suppress(TimeoutError):
            messages.append(await asyncio.wait_for(self._messages.get(), seconds))
        while not self._messages.empty():
            messages.append(self._messages.get_nowait())
        return messages

    async def answer(self, token: str, answer: str) -> None:
        """Answer the message of an attempt."""
        self._answers.pop(token).set_result(answer)


def start_mailbox(name: str | None = None) -> Any:
    """Start a mailbox beside this process, with which it ends.

    Raises:
        ValueError: another process of the cluster has one of this name.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Mailbox).options(name=name, num_cpus=0, scheduling_strategy=here).remote()


def _attempt(work: Work, job: Any, token: str, mailbox: Any) -> None:
    """Do a job on a node; all that comes of it goes through the mailbox."""

    def ask(kind: Any, content: Any) -> str:
        answer = FENCED
        with suppress(RayActorError):  # the driver has died
            answer = str(ray.get(mailbox.ask.remote(token, kind, content)))
        if answer == FENCED:
            os._exit(1)  # another process may work on the run: nothing more may be logged, not even its end
        return answer

    def send(message: Any) -> bool:
        answer = ask(Message, message)
        if answer == STOP:
            _interrupt()
        return answer == CONTINUE

    try:
        ask(Scheduled, (ray.get_runtime_context().get_node_id(), socket.gethostname()))
        ask(*worker_pool.outcome(work, job, send))
    except KeyboardInterrupt:
        ask(Failed, "Stopped.")


def _interrupt() -> NoReturn:
    """Raise KeyboardInterrupt once: the one of ``ray.cancel``, or this one if that was lost within a callback of Ray.

    A second one would interrupt the job while it ends its run.
    """
    for _ in range(30):
        time.sleep(0.1)  # Ray interrupts between two statements
    raise KeyboardInterrupt


# --- the driver -----------------------------------------------------------------------------------------------------


@dataclass
class _Task:
    """An attempt at a job."""

    job: Any
    attempt: int
    reference: Any
    node: str | None = None  # None: not scheduled yet


class RayPool:
    """Tasks on the nodes of the cluster.

    Args:
        work: see :class:`pipeline.execution.worker_pool.WorkerPool`.
        should_continue: likewise.
        mailbox: see :func:`start_mailbox`.
        cores: that each job claims of its node.
        gpus: likewise.
    """

    def __init__(
        self, work: Work, should_continue: ShouldContinue, mailbox: Any, *, cores: int = 1, gpus: int = 0
    ) -> None:
        self._work, self._should_continue, self._mailbox = work, should_continue, mailbox
        self._cores, self._gpus = cores, gpus
        self._tasks: dict[str, _Task] = {}  # by their tokens
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, job: Any, attempt: int = 1) -> None:
        """Submit a job to the cluster, which chooses a node for it."""
        token = uuid.uuid4().hex
        cores = max(1, min(self._cores, most("CPU")))  # the largest node may have been lost
        remote: Any = ray.remote(max_retries=0, max_calls=JOBS_EACH, num_cpus=cores, num_gpus=self._gpus)
        self._tasks[token] = _Task(job, attempt, remote(_attempt).remote(self._work, job, token, self._mailbox))

    def events(self) -> list[Event]:
        """Return what happens next."""
        over = self._over()  # a task ends after its last message was answered: those that are left here have died
        events = self._received(0.0 if over else 1.0)
        return events + [self._lost(token) for token in over if token in self._tasks] or [Tick()]

    def _over(self) -> list[str]:
        """Return the tokens of the tasks that have ended in any way."""
        tokens = {task.reference: token for token, task in self._tasks.items()}
        ready, _ = ray.wait(list(tokens), num_returns=len(tokens), timeout=0, fetch_local=False)
        return [tokens[reference] for reference in ready]

    def _received(self, seconds: float) -> list[Event]:
        messages = ray.get(self._mailbox.take.remote(seconds))
        return [event for message in messages if (event := self._receive(*message))]

    def _receive(self, token: str, kind: Any, content: Any) -> Event | None:
        """Answer a message, and return it as an event; None if its attempt was replaced."""
        task, answer = self._tasks.get(token), CONTINUE
        if task is None:
            self._mailbox.answer.remote(token, FENCED)
            return None
        if kind is Scheduled:
            task.node, content = content
        elif kind is not Message:
            del self._tasks[token]
        elif self._is_stopping:
            answer = STOP
        elif not self._should_continue(task.job, content):
            answer = FINISH
        self._mailbox.answer.remote(token, answer)
        event: Event = kind(task.job, content)
        return event

    def _lost(self, token: str) -> Event:
        """Return what happened to a task that has ended without a result; it starts again if its node was lost."""
        task = self._tasks.pop(token)
        try:
            ray.get(task.reference)
            reason = "It ended without a result."
        except OutOfMemoryError:
            reason = "Ray ended it, since the memory of its node ran out. Run fewer trainings at a time: --workers."
        except (NodeDiedError, WorkerCrashedError) as error:
            is_lost = isinstance(error, NodeDiedError) or (task.node and _has_died(task.node))
            if is_lost and task.attempt <= ATTEMPTS:
                self.start(task.job, task.attempt + 1)
                return Rescheduled(task.job)
            reason = f"Its process ended on its node: {first_line(error)}"
        except RayError as error:
            reason = f"Ray could not do it: {str(error).strip().splitlines()[-1]}"
        return Failed(task.job, reason)

    def stop(self) -> None:
        """Interrupt all jobs, and wait until they have ended."""
        self._is_stopping = True
        for task in self._tasks.values():
            ray.cancel(task.reference, recursive=False)  # recursive: it would cancel its calls of the mailbox, too
        deadline = time.monotonic() + STOP_SECONDS
        while self._tasks and time.monotonic() < deadline:
            over = self._over()
            self._received(0.2)
            for token in over:  # a cancelled task counts as ended while it still ends its run
                if token in self._tasks and self._tasks[token].node is None:
                    del self._tasks[token]
        for task in self._tasks.values():
            ray.cancel(task.reference, force=True)
