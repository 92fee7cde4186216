"""Signals that ask a process to end, and TensorFlow's start."""

import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from pipeline.startup import interruptible, start_tensorflow


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


def test_threads_cannot_be_set_once_tensorflow_runs() -> None:
    tf.add(1, 1).numpy()
    assert start_tensorflow(2) is False


def test_threads_are_set_before_tensorflow_runs() -> None:
    code = (
        "from pipeline.startup import start_tensorflow; answer = start_tensorflow(2); import tensorflow as tf; "
        "print(answer, tf.config.threading.get_intra_op_parallelism_threads())"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "1"]


def hold_back(end: str) -> str:
    code = (
        "import os\nfrom pipeline import startup\n"
        f"with startup._quiet_native_code():\n    os.write(2, b'noise')\n    {end}\nos.write(2, b'after')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    ).stderr


def test_what_native_code_prints_at_the_start_is_held_back() -> None:
    assert "after" == hold_back("pass")


def test_what_was_held_back_is_shown_when_the_start_fails() -> None:
    stderr = hold_back("raise ImportError('no such library')")
    assert stderr.startswith("noise")
    assert "no such library" in stderr
