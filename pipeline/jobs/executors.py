"""Where trainings run: in processes of this machine, or on the nodes of a Ray cluster; chosen in one place.

with executors.opened("ray") as executor: ...
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.splits import DataSet
from pipeline.errors import UsageError
from pipeline.jobs import cluster, machines, node, ray
from pipeline.jobs.checkpoints import Place
from pipeline.jobs.job import Job
from pipeline.jobs.processes import Event, GoesOn, always
from pipeline.jobs.ray import Claim
from pipeline.jobs.side_by_side import Executor, Local
from pipeline.jobs.travelling import Travelling
from pipeline.settings import default_shards

LOCAL, RAY = "local", cluster.RAY


class OnRay:
    """The nodes of the Ray cluster that this process is connected to.

    Raises:
        UsageError: none of them takes work.
    """

    def __init__(self) -> None:
        if machines.most("CPU") < 1:
            raise UsageError(
                f"on: expected a Ray cluster with a node that has a core to give, received {len(machines.living())} "
                "nodes with none. Start a node with `ray start --num-cpus=N`."
            )
        self._place = Travelling()
        self._gpus = 1 if machines.most("GPU") else 0

    def place(self, data_dir: Path) -> Place:
        """Return the tracking server, where the run of the comparison is held, too."""
        return self._place

    def at_once(self, trainings: int) -> int:
        """Return how many the cluster takes: one per core, or per GPU where there are any."""
        return max(1, min(trainings, machines.in_all("GPU" if self._gpus else "CPU")))

    def cores(self, count: int) -> int:
        """Return each one's share of the cores, no more than a node has or a training uses."""
        return max(1, min(machines.in_all("CPU") // count, machines.most("CPU"), default_shards()))

    def train(self, jobs: Iterable[Job], data: DataSet, *, count: int, goes_on: GoesOn = always) -> Generator[Event]:
        """Do the jobs on the nodes, once it is known that each has room and can write on the run that is open."""
        driver = self._place.driver
        cluster.check_nodes(driver.run_id, data)
        work = node.Work(driver=driver, files=cluster.packed(data.folder))
        claim = Claim(cores=self.cores(count), gpus=self._gpus)
        return ray.run(work, work.noted(jobs), count=count, goes_on=goes_on, claim=claim)


@contextmanager
def opened(on: str) -> Iterator[Executor]:
    """Give the executor that an option names, connected.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.

    Raises:
        UsageError: it is none of these, or there is no such cluster.
        TrackingError: the tracking server cannot be reached by other machines.
    """
    if on == LOCAL:
        yield Local()
    elif on == RAY or on.startswith(cluster.SCHEME):
        with cluster.connected(on):
            yield OnRay()
    else:
        raise UsageError(f"on: expected local, ray or an address such as ray://HOST:10001, received {on!r}.")
