"""Signals that ask a process to end, and TensorFlow's start."""

import importlib
import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.startup import interruptible, quieten, uninterrupted, without


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_asks_a_process_to_end_interrupts_it_once(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)

    def stop_twice() -> None:
        with interruptible():
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(signal.SIGTERM)  # `mlflow run` follows Ctrl-C up with it

    with pytest.raises(KeyboardInterrupt):
        stop_twice()
    assert before == signal.getsignal(number)


def test_an_interruption_waits_for_what_must_be_whole() -> None:
    done = []

    def write() -> None:
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
            done.append("inner")
            signal.raise_signal(signal.SIGTERM)
            done.append("outer")
        done.append("more")

    with pytest.raises(KeyboardInterrupt), interruptible():
        write()
    assert ["inner", "outer"] == done


def threads(code: str) -> list[str]:
    """Return what code in a process of its own says of the start."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_threads_cannot_be_set_once_tensorflow_runs() -> None:
    code = (
        "import tensorflow as tf; tf.add(1, 1).numpy(); from pipeline.startup import start_tensorflow; "
        "print(start_tensorflow(2))"
    )
    assert ["False"] == threads(code)


def test_threads_are_set_before_tensorflow_runs() -> None:
    code = (
        "from pipeline.startup import start_tensorflow; answer = start_tensorflow(2); import tensorflow as tf; "
        "print(answer, tf.config.threading.get_intra_op_parallelism_threads())"
    )
    assert ["True", "1"] == threads(code)


CHATTER = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n"
    "I0000 00:00:1795613731.583771    5137 port.cc:153] oneDNN custom operations are on.\\n"
    "I0000 00:00:1795613731.584117    5137 cudart_stub.cc:31] Could not find cuda drivers on your machine.\\n"
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.\\n"
    "E0000 00:00:1795613739.99381    5137 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\\n"
)
ERROR = "E0000 00:00:1795613740.1    5137 bfc_allocator.cc:1] out of memory\\n"


def written(text: str, end: str = "pass", **environment: str) -> str:
    """Return what is left on standard error of a text that native code writes while TensorFlow is imported."""
    code = (
        "import os\nfrom pipeline import startup\n"
        f"with startup._quiet_native_code():\n    os.write(2, b'{text}')\n    {end}\nos.write(2, b'after')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | environment
    ).stderr


def test_what_tensorflow_says_at_its_start_is_left_out_and_its_errors_are_not() -> None:
    assert "after" == written(CHATTER)
    assert f"{ERROR}after".replace("\\n", "\n") == written(CHATTER + ERROR + CHATTER)


def test_what_was_left_out_is_shown_when_the_start_fails() -> None:
    stderr = written(CHATTER, "raise ImportError('no such library')")
    assert stderr.startswith(CHATTER.replace("\\n", "\n"))
    assert "no such library" in stderr


def test_whoever_asks_for_the_lines_by_a_log_level_sees_them() -> None:
    assert CHATTER.replace("\\n", "\n") in written(CHATTER, TF_CPP_MIN_LOG_LEVEL="0")


def test_tensorflow_starts_without_a_line() -> None:
    code = "from pipeline.startup import start_tensorflow; start_tensorflow(1); import keras"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ("", "") == (done.stdout, done.stderr)


def test_the_users_own_log_levels_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "DEBUG")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)

    quieten()

    assert ("DEBUG", "2") == (os.environ["MLFLOW_LOGGING_LEVEL"], os.environ["TF_CPP_MIN_LOG_LEVEL"])


def test_a_process_of_our_own_starts_without_what_is_not_used_which_is_there_afterwards() -> None:
    """Keras does without it, as where it is not installed; in a notebook it is to find it."""
    code = (
        "import sys; from pipeline import startup; {}startup.start_tensorflow(1); import keras; "
        "left = [name for name in ('sklearn', 'matplotlib') if name in sys.modules]; "
        "import sklearn.base, matplotlib.pyplot; print(len(left), sklearn.base.BaseEstimator.__name__)"
    )
    assert ["0", "BaseEstimator"] == threads(code.format("startup.hasten(); "))
    assert ["2", "BaseEstimator"] == threads(code.format(""))


def test_what_is_imported_already_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with without("json", "wave"):
        assert json is importlib.import_module("json")
        with pytest.raises(ModuleNotFoundError, match="wave"):
            importlib.import_module("wave")
    assert "wave" == importlib.import_module("wave").__name__
