"""TensorFlow, started once and quietly: whatever computes calls this before it imports more of it."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.settings import usable_cores


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
