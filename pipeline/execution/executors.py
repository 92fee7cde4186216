"""The executor that an option names.

A further kind of executor, such as one for Dask, is a module like ``ray_executor.py`` and a branch here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from pipeline.errors import UsageError
from pipeline.execution.worker_pool import Executor

LOCAL = "local"


@contextmanager
def open_executor(on: str, *, tracks: bool = True) -> Iterator[Executor]:
    """Yield the connected executor that an option names.

    Args:
        on: ``local``, ``ray``, or an address such as ``ray://HOST:10001``.
        tracks: whether its jobs write runs.

    Raises:
        UsageError: it is none of these, there is no such cluster, or another command trains on it.
        TrackingError: other machines cannot reach the tracking server.
    """
    if on == LOCAL:
        yield Executor()
    elif on == "ray" or on.startswith("ray://"):
        if find_spec("ray") is None:
            raise UsageError("on: ray needs the package Ray, which is not installed. Try pip install -e '.[ray]'.")
        from pipeline.execution import ray_executor

        with ray_executor.connected(on, tracks=tracks) as executor:
            yield executor
    else:
        raise UsageError(f"on: must be local, ray or an address such as ray://HOST:10001; got {on!r}.")
