"""What a process does before its work: signals become one interruption, TensorFlow starts quietly."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pipeline.settings import usable_cores

# Ctrl-C, the wish of another process, and a terminal that was closed (which Windows does not know).
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on any of the signals that ask a process to end; afterwards they are as before."""
    handlers = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    """Interrupt once: `mlflow run` follows Ctrl-C up with SIGTERM, which must not disturb the marking of the run."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def start_tensorflow(threads: int) -> bool:
    """Import TensorFlow, and give it ``threads`` threads, at most one per core, each of which computes alone.

    Matrix products of this size do not gain from a second thread; independent parts of a batch do, side by side.
    The setting changes no result.

    Returns:
        Whether the setting took hold: False if TensorFlow had already started its threads, or
        if there is a GPU, for which its own defaults are best.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_native_code():
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return False
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, usable_cores()))
    except RuntimeError:
        return False
    return True


@contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Hold back what native code writes to standard error; if the block fails, it is shown after all.

    While it is imported, TensorFlow prints lines about CUDA and oneDNN before any log level applies.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(kept, hidden.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
