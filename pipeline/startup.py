"""What a process does before its work: signals become one interruption, the libraries start quietly."""

import gc
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.machine import usable_cores

# Ctrl-C, the wish of another process, and a terminal that was closed (which Windows does not know).
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_CALM: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # errors, and nothing below
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # alembic's migrations are below
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the pipeline says itself where to look
}
_TALKATIVE: Mapping[str, str] = {"TF_CPP_MIN_LOG_LEVEL": "0", "MLFLOW_LOGGING_LEVEL": "INFO"}

_CHATTER = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} |To enable the following instructions"
    r"|E\d{4} .*failed call to cuInit"  # there is no GPU
)


def quieten(*, verbose: bool = False) -> None:
    """Let TensorFlow and MLflow say only what a user can act on; to be called before either is imported.

    Args:
        verbose: let them say all that they have to say.

    What the user's own environment variables ask for wins.
    """
    for name, value in (_TALKATIVE if verbose else _CALM).items():
        os.environ.setdefault(name, value)


def talks() -> bool:
    """Return whether the user wants to see what TensorFlow has to say."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "") in ("0", "1")


_SPARED = ("sklearn", "matplotlib")
"""What Keras imports, where it is installed, for wrappers and pictures that nothing here uses: a fifth of its time."""

_left_out: list[str] = []  # in a process of our own; in a notebook all of Keras is at hand


def hasten() -> None:
    """Let a process that is ours alone, no notebook's, start in less time.

    Imports make millions of objects that stay: Python looks for garbage among them more rarely (a fifth of the time of
    the imports), and TensorFlow comes without what is not used here.
    """
    gc.set_threshold(50_000, 10, 10)
    _left_out[:] = _SPARED


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports in the block find those modules as if they were not installed, unless they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: documented to stop an import
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


MARK = ".recurrent-mlflow-pipeline"
"""The file in an environment that MLflow has built which says that it is one of this project."""

_BUILT_BY_MLFLOW = re.compile(r"mlflow-[0-9a-f]{40}")


def mark_environment() -> None:
    """Mark the environment of this process as this project's, if it is one that MLflow has built: see ``clean``."""
    environment = Path(sys.prefix)
    if _BUILT_BY_MLFLOW.fullmatch(environment.name):
        with suppress(OSError):
            (environment / MARK).touch()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on any of the signals that ask a process to end; afterwards they are as before."""
    handlers = {number: signal.signal(number, _interruption.arrive) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let an interruption wait until the block has ended: for what must be done as a whole.

    A write to a database, for example, that KeyboardInterrupt leaves between its statements may keep the file locked
    against this very process, which then cannot even write that it was interrupted.
    """
    if threading.current_thread() is not threading.main_thread():  # which no signal interrupts
        yield
        return
    _interruption.hold()
    try:
        yield
    finally:
        _interruption.release()


class _Interruption:
    """An interruption that has arrived, and those who want it to wait."""

    def __init__(self) -> None:
        self._holders = 0
        self._is_due = False

    def arrive(self, *_: object) -> None:
        """Interrupt once: `mlflow run` follows Ctrl-C up with SIGTERM, which must not disturb the marking of a run."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._is_due = True
        self._raise()

    def hold(self) -> None:
        """Begin to want it to wait."""
        self._holders += 1

    def release(self) -> None:
        """No longer want it to."""
        self._holders -= 1
        self._raise()

    def _raise(self) -> None:
        if self._is_due and not self._holders:
            self._is_due = False
            raise KeyboardInterrupt


_interruption = _Interruption()


def start_tensorflow(threads: int) -> bool:
    """Import TensorFlow, and give it ``threads`` threads, at most one per core, each of which computes alone.

    Matrix products of this size do not gain from a second thread; independent parts of a batch do, side by side.
    The setting changes no result.

    Returns:
        Whether the setting took hold: False if TensorFlow had already started its threads, or
        if there is a GPU, for which its own defaults are best.
    """
    quieten()
    with _quiet_native_code(), without(*_left_out):
        import tensorflow as tf

        if not talks():
            tf.get_logger().setLevel("WARNING")  # a notebook's logging would show where each model is written
        if tf.config.list_physical_devices("GPU"):
            return False
    gc.freeze()  # what is imported stays: no search for garbage goes through it again
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, usable_cores()))
    except RuntimeError:
        return False
    return True


def gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow can use, once it is started."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]


@contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Leave out of standard error what TensorFlow says of oneDNN and CUDA while it is imported.

    It does so before any log level applies. All else that arrives is passed on when the block ends: errors, what other
    code writes; and if the block fails, or the user has asked for it by a log level, everything.
    """
    if talks():
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    shown: Callable[[bytes], bytes] = _no_chatter
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            shown = bytes
            raise
        finally:
            sys.stderr.flush()
            hidden.seek(0)
            os.write(kept, shown(hidden.read()))
            os.dup2(kept, 2)
            os.close(kept)


def _no_chatter(written: bytes) -> bytes:
    lines = written.splitlines(keepends=True)
    return b"".join(line for line in lines if not _CHATTER.match(line.decode(errors="replace")))
