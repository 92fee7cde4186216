"""Signals that ask a process to end, standard streams, log levels, and TensorFlow's start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import UsageError
from pipeline.startup import interruptible, is_verbose, quieten, start_tensorflow, uninterrupted

TENSORFLOW_STARTS = re.compile(r"WARNING: All log messages before absl::InitializeLog|I\d{4} .*(oneDNN|cuda drivers)")
"""The lines that TensorFlow prints on standard error while it is imported; no setting prevents them."""


def beyond_the_start(stderr: str) -> list[str]:
    """Return the lines of standard error that TensorFlow does not print while it is imported."""
    return [line for line in stderr.splitlines() if not TENSORFLOW_STARTS.match(line)]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_asks_a_process_to_end_interrupts_it_once(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012 - the whole block is interrupted
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)  # `mlflow run` sends it after Ctrl-C
    assert before == signal.getsignal(number)


@pytest.mark.parametrize("context", [interruptible, uninterrupted])
def test_other_threads_leave_the_handlers_of_signals(context: Callable[[], AbstractContextManager[None]]) -> None:
    """Signals interrupt only the main thread, and Python lets no other set a handler."""

    def handler() -> object:
        with context():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor() as threads:
        assert signal.getsignal(signal.SIGTERM) == threads.submit(handler).result()


def test_an_interruption_waits_for_what_must_be_whole() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012 - the whole block is interrupted
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            done.append("inner")
            signal.raise_signal(signal.SIGTERM)
            done.append("outer")
        done.append("more")
    assert ["inner", "outer"] == done


@pytest.mark.parametrize(
    ("verbose", "given", "expected"),
    [
        (False, {"MLFLOW_LOGGING_LEVEL": "DEBUG"}, ("DEBUG", "3", False)),
        (True, {"TF_CPP_MIN_LOG_LEVEL": "2", "MLFLOW_LOGGING_LEVEL": "DEBUG"}, ("DEBUG", "0", True)),
    ],
)
def test_log_levels_of_the_user_take_precedence_and_verbose_over_them(
    monkeypatch: pytest.MonkeyPatch, *, verbose: bool, given: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    names = ("MLFLOW_LOGGING_LEVEL", "TF_CPP_MIN_LOG_LEVEL")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    quieten(verbose=verbose)
    assert expected == (*(os.environ[name] for name in names), is_verbose())


LIBRARIES = """
import logging, warnings
from pipeline.startup import quieten, start_tensorflow
quieten()
start_tensorflow(2)
import keras, tensorflow as tf
threads = tf.config.threading.get_inter_op_parallelism_threads()
print(threads in (1, 2), tf.config.threading.get_intra_op_parallelism_threads(), keras.backend.backend())
tf.add(1, 1).numpy()
start_tensorflow(3 - threads)
print(threads == tf.config.threading.get_inter_op_parallelism_threads())
import alembic.runtime.migration, mlflow, mlflow.store.db.utils
for library in (tf.get_logger(), logging.getLogger("mlflow.tracking"), logging.getLogger("alembic.runtime.migration")):
    library.error("an error of " + library.name)
    library.info("a remark")
warnings.warn("a warning")
"""


def test_keras_runs_on_tensorflow_with_threads_set_in_time_and_errors_of_libraries_are_shown(tmp_path: Path) -> None:
    """Threads cannot be set when TensorFlow runs; another configured backend is ignored."""
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    inherited = {name: value for name, value in os.environ.items() if not re.match("MLFLOW_|TF_", name)}
    variables = inherited | {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True, check=True, env=variables)

    assert ["True", "1", "tensorflow", "True"] == done.stdout.split()
    said = ("of tensorflow", "of mlflow.tracking", "of alembic.runtime.migration", "a warning")
    assert [True] * 4 == [text in done.stderr for text in said]
    assert "a remark" not in done.stderr


def test_a_keras_that_was_imported_with_another_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimpleNamespace(backend=lambda: "torch")
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(config=config))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UsageError, match="KERAS_BACKEND: must be tensorflow; Keras was imported before with torch"):
        start_tensorflow(1)


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_are_opened_as_nothing(closed: str, tmp_path: Path) -> None:
    """So native code does not print into a file that is opened later, and child processes have the streams, too."""
    code = (
        "import os, subprocess, sys; from pipeline.startup import open_standard_streams; open_standard_streams(); "
        "print('x'); print('y', file=sys.stderr); sys.stdin.read(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); "
        "child = 'import sys; sys.exit(None in (sys.stdin, sys.stdout, sys.stderr))'; "
        "sys.exit(file.fileno() < 3 or subprocess.run([sys.executable, '-c', child]).returncode)"
    )
    shell = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    assert 0 == subprocess.run(shell, check=False, stdin=subprocess.DEVNULL).returncode
