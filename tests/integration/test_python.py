"""The pipeline from Python: the code of ``docs/python.md``, and more."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

import pipeline
from pipeline.errors import TrackingError, UsageError
from pipeline.execution.executors import Executor
from tests.integration.conftest import PROJECT, Command


@pytest.fixture(scope="module")
def session(store: Path) -> Iterator[dict[str, Any]]:
    """Run the code of the page from the top; return its names and its output."""
    page = (PROJECT / "docs" / "python.md").read_text()
    names: dict[str, Any] = {}
    folder = store / "from-python"
    folder.mkdir()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as printed,
    ):
        patch.setattr(Executor, "default_workers", lambda *_: 1)  # a process takes seconds to start
        for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102 - our own code
        yield names | {"printed": printed.getvalue()}


def test_a_training_gives_access_to_its_run(session: dict[str, Any]) -> None:
    training = session["first_run"]

    run = mlflow.get_run(training.run_id)
    assert (run.data.params, run.data.metrics) == (training.params, training.metrics)
    assert [1, 2, 3, 4, 5] == training.history.epoch.to_list()
    assert (360, 10) == (len(training.predictions), len(training.per_class))
    accuracy = (training.predictions.label == training.predictions.predicted).mean()
    assert training.metrics["test_accuracy"] == pytest.approx(accuracy)
    assert f"epoch 5/5   cost {training.history.cost.iloc[-1]:.4f}" in session["printed"]


def test_a_comparison_gives_tables(session: dict[str, Any], command: Command, tmp_path: Path) -> None:
    comparison = session["comparison"]

    assert {"gru": 3, "rnn": 3} == dict(zip(comparison.summary.group, comparison.summary.seeds, strict=True))
    assert (6, 1) == (len(comparison.runs), len(comparison.pairwise_tests))
    assert [session["first_run"].run_id] == comparison.runs[comparison.runs.reused].run_id.to_list()
    assert {*comparison.runs.run_id} <= {*session["long_ones"].runs.run_id}
    text = command("report", "--parent", comparison.run_id, "--output", tmp_path, "--format", "csv").stdout
    assert comparison.summary.group.to_list() == pd.read_csv(io.StringIO(text)).group.to_list()


def test_models_answer(session: dict[str, Any]) -> None:
    assert ((10, 10), 10) == (session["probabilities"].shape, len(session["answers"]))
    assert ["three.png"] == session["table"].file.to_list()
    expected = session["first_run"].model.probabilities(np.rint(session["images"][3:4])).max()
    assert expected == pytest.approx(session["table"].probability[0], abs=0.05)  # rounding of pixels differs


def test_errors_are_exceptions(session: dict[str, Any]) -> None:
    assert "steps: must divide 8 × 8 = 64 pixels; got 7." in session["printed"]
    with pytest.raises(UsageError, match="cell: must be 'rnn', 'lstm', 'gru' or 'mgu'") as caught:
        pipeline.compare(cells=["rnn", "elman"])
    assert [f"UsageError: {caught.value}"] == caught.value._render_traceback_()
    with pytest.raises(TrackingError, match="There is no run"):
        pipeline.evaluate("0" * 32)
    with mlflow.start_run(), pytest.raises(UsageError, match=r"is active in this process\. End it first"):
        pipeline.run(dataset="digits", epochs=1, data_dir="from-python/data")


def test_the_steps_are_functions(store: Path, tmp_path: Path) -> None:
    assert 4 == len(list(pipeline.download(dataset="digits", data_dir=tmp_path).glob("*-ubyte")))
    assert (1293, 8, 8) == pipeline.preprocess(dataset="digits", data_dir=tmp_path).train.examples.shape
    training = pipeline.train(dataset="digits", hidden_units=8, epochs=1, data_dir=tmp_path)
    assert "test_accuracy" not in training.metrics
    assert "test_accuracy" in pipeline.evaluate(training.run_id, data_dir=tmp_path).metrics
    assert pipeline.promote(training.run_id, "from-python").champion
    assert (8, 8) == pipeline.load("models:/from-python@champion").kind.shape


def test_importing_it_is_instant() -> None:
    code = (
        "import sys; before = set(sys.modules); import pipeline; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names)); "
        "from pipeline import run, compare, load; "
        "print(sorted({'tensorflow', 'keras', 'mlflow', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "['pipeline']\n[]\n" == done.stdout
