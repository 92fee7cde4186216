"""Process setup before any work: standard streams, signals, log levels, garbage collection, TensorFlow's threads."""

import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

from pipeline.errors import UsageError
from pipeline.machine import usable_cores

# Ctrl-C, a request by another process, and a closed terminal (which does not exist on Windows).
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

QUIET_ENV: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # at level 2 TensorFlow reports a missing GPU as an error
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # hides alembic's migrations
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the pipeline shows the address itself
}


def open_standard_streams() -> None:
    """Replace each closed standard stream by the null device; ``2>&-`` and cron close streams.

    Otherwise the next opened file, such as a SQLite store, would get the stream's descriptor, and receive what native
    code prints. Characters that a stream cannot encode are printed as ``?``.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def quieten(*, verbose: bool = False) -> None:
    """Set the log levels of TensorFlow and MLflow to errors and warnings; call it before either is imported.

    Args:
        verbose: leave them at all messages instead, also in later calls.

    The user's own environment variables take precedence over the levels, and ``verbose`` over them.
    """
    if verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    for name, value in QUIET_ENV.items() if not is_verbose() else ():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm warns if ipywidgets is missing


def is_verbose() -> bool:
    """Return whether the user wants to see the messages of TensorFlow."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "") in ("0", "1")


def relax_garbage_collection() -> None:
    """Collect garbage less often; only for processes that the pipeline starts.

    Imports create millions of permanent objects; searching them takes a quarter of the time of the imports.
    """
    gc.set_threshold(500_000, 10, 10)


def interruptible() -> AbstractContextManager[None]:
    """Return a context in which any termination signal raises KeyboardInterrupt; then the earlier handlers return."""
    return _handled_by(_interrupt)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interruption until the block has ended, for work that must not be split.

    For example, if KeyboardInterrupt stops a database write between two statements, the file may stay locked. Then not
    even this process can record that it was interrupted.
    """
    arrived: list[int] = []
    try:
        with _handled_by(lambda number, _: arrived.append(number)):
            yield
    finally:
        if arrived:
            signal.raise_signal(arrived[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Give signals another handler within the block; it has no effect in other threads than the main one."""
    is_main = threading.current_thread() is threading.main_thread()  # signals interrupt no other
    earlier = {number: signal.signal(number, handler) for number in SIGNALS if is_main}
    try:
        yield
    finally:
        for number, each in earlier.items():
            signal.signal(number, each)


def _interrupt(*_: object) -> None:
    """Interrupt once: `mlflow run` sends SIGTERM after Ctrl-C, which must not disturb the marking of a run."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def start_tensorflow(threads: int) -> None:
    """Import TensorFlow with ``threads`` threads, at most one per core; each operation uses one.

    Matrix products of this size do not gain from a second thread; independent parts of a batch do. The setting changes
    no result. It has no effect if TensorFlow has already started its threads, or if there is a GPU: its own defaults
    are best there. Keras uses TensorFlow as its backend from then on.

    Raises:
        UsageError: Keras was imported with another backend before.
    """
    quieten()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # takes precedence over ~/.keras/keras.json
    if "keras" in sys.modules and (backend := sys.modules["keras"].config.backend()) != "tensorflow":
        raise UsageError(
            f"KERAS_BACKEND: must be tensorflow; Keras was imported before with {backend}. "
            "Restart Python with KERAS_BACKEND=tensorflow, or import pipeline before keras."
        )
    import tensorflow as tf

    if not is_verbose():
        tf.get_logger().setLevel("WARNING")  # in a notebook, logging would show where each model is written
    if tf.config.list_physical_devices("GPU"):
        return
    gc.freeze()  # imported objects are permanent: garbage collection skips them from now on
    with suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, usable_cores()))


def gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow can use, once it is started."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]
