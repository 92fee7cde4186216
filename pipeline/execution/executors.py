"""Where trainings and other jobs run: in processes of this machine, or on a Ray cluster; chosen in one place.

with executors.opened("ray") as executor: ...
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.execution import node, ray_cluster, ray_nodes, ray_pool
from pipeline.execution.job import Job
from pipeline.execution.ray_pool import Claim
from pipeline.execution.scheduler import LOCAL, Executor, Local, Parcel
from pipeline.execution.worker_pool import Event, GoesOn, Work, always
from pipeline.settings import default_shards
from pipeline.tracking import lifecycle

RAY = ray_cluster.RAY


class OnRay:
    """The nodes of the Ray cluster that this process is connected to.

    Raises:
        UsageError: none of them takes work.
    """

    remote = True

    def __init__(self) -> None:
        if ray_nodes.most("CPU") < 1:
            raise UsageError(
                f"on: expected a Ray cluster with a node that has a core to give, received {len(ray_nodes.living())} "
                "nodes with none. Start a node with `ray start --num-cpus=N`."
            )
        self._gpus = 1 if ray_nodes.most("GPU") else 0

    def at_once(self, trainings: int) -> int:
        """Return how many the cluster takes: one per core, or per GPU where there are any."""
        return max(1, min(trainings, ray_nodes.in_all("GPU" if self._gpus else "CPU")))

    def cores(self, count: int) -> int:
        """Return each one's share of the cores, no more than a node has or a training uses."""
        return max(1, min(ray_nodes.in_all("CPU") // count, ray_nodes.most("CPU"), default_shards()))

    def train(self, jobs: Iterable[Job], data: DataSet, *, count: int, goes_on: GoesOn = always) -> Generator[Event]:
        """Do the jobs on the nodes, once it is known that each has room and can write on the run that is open."""
        run_id = lifecycle.active_run()  # of the comparison or the search
        ray_cluster.check_nodes(str(run_id), data)
        work = node.Work(files=ray_cluster.packed(data.folder))
        return ray_pool.run(work, work.noted(jobs), count=count, goes_on=goes_on, claim=self._claim(count))

    def run(self, work: Work, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
        """Do other jobs on the nodes."""
        return ray_pool.run(work, jobs, count=count, claim=self._claim(count))

    def parcel(self, place: Path) -> Parcel:
        """Put a file or folder into the cluster's object store."""
        return Travelled(place.name, ray_cluster.packed(place))

    def _claim(self, count: int) -> Claim:
        return Claim(cores=self.cores(count), gpus=self._gpus)


@dataclass(frozen=True)
class Travelled:
    """A file or folder of the driver's, for a process on a node.

    Attributes:
        name: of it.
        files: what it holds, in the cluster's object store.
    """

    name: str
    files: list[Any]
    travels = True

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Give a copy of it; a file has its name there."""
        with TemporaryDirectory() as folder:
            node.unpack(self.files, Path(folder))
            file = Path(folder) / self.name
            yield file if file.is_file() else Path(folder)


@contextmanager
def opened(on: str, *, tracks: bool = True) -> Iterator[Executor]:
    """Give the executor that an option names, connected.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs need the tracking server.

    Raises:
        UsageError: it is none of these, or there is no such cluster.
        TrackingError: the tracking server cannot be reached by other machines.
    """
    if on == LOCAL:
        yield Local()
    elif on == RAY or on.startswith(ray_cluster.SCHEME):
        with ray_cluster.connected(on, tracks=tracks):
            yield OnRay()
    else:
        raise UsageError(f"on: expected local, ray or an address such as ray://HOST:10001, received {on!r}.")
