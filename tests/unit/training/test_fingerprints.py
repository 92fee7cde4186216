"""Two trainings are the same exactly if nothing differs that settles their numbers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import digests
from pipeline.training import fingerprints

PARAMETERS = {"cell": "gru", "seed": 1, "data_dir": Path("data"), "source": "mirrors", "dataset": "mnist"}


def of(parameters: dict[str, object], digest: str = "abc") -> str:
    return fingerprints.of_parameters(parameters, digest)


def test_trainings_with_the_same_parameters_data_and_code_are_twins() -> None:
    assert of(PARAMETERS) == of(dict(reversed(PARAMETERS.items())))


@pytest.mark.parametrize("other", [{"seed": 2}, {"cell": "rnn"}])
def test_another_parameter_makes_another_training(other: dict[str, object]) -> None:
    assert of(PARAMETERS) != of(PARAMETERS | other)


@pytest.mark.parametrize("other", [{"data_dir": Path("elsewhere")}, {"source": "/folder"}, {"dataset": "custom"}])
def test_where_the_data_lies_and_its_name_make_no_difference_but_its_content_does(other: dict[str, object]) -> None:
    assert of(PARAMETERS) == of(PARAMETERS | other)
    assert of(PARAMETERS) != of(PARAMETERS, "abd")


def test_another_tensorflow_makes_another_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(PARAMETERS)
    monkeypatch.setattr(fingerprints, "version", lambda package: "another")
    assert before != of(PARAMETERS)


def test_the_code_that_settles_the_numbers_is_what_trains_splits_and_scores() -> None:
    """The list is written down, so that a new import among these modules is a decision and not an accident."""
    assert [
        "cells.py",
        "custom_cells.py",
        "data/contents.py",
        "data/datasets.py",
        "data/splits.py",
        "digests.py",
        "errors.py",
        "evaluation/metrics.py",
        "kinds/augmentation.py",
        "kinds/images.py",
        "kinds/kind.py",
        "kinds/known.py",
        "kinds/sequences.py",
        "machine.py",
        "model/custom_layer.py",
        "model/equations.py",
        "model/fit.py",
        "model/initializers.py",
        "model/mgu.py",
        "model/network.py",
        "model/optimizers.py",
        "model/recurrence.py",
        "model/recurrent.py",
        "model/trainer.py",
        "records.py",
        "settings.py",
    ] == digests.closure(*fingerprints.CODE)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package, to be changed."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(digests.PACKAGE, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def fingerprint_in(folder: Path) -> str:
    """Return the fingerprint of one training, computed by the code in ``folder``."""
    code = "from pipeline.training import fingerprints; print(fingerprints.of_parameters({'cell': 'gru'}, 'abc'))"
    run = [sys.executable, "-c", code]
    return subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("module", "moves"),
    [
        ("cli/terminal.py", False),
        ("progress.py", False),
        ("recipes.py", False),
        ("comparison/report.html", False),
        ("comparison/report.py", False),
        ("serving/server.py", False),
        ("training/training.py", False),
        ("model/network.py", True),
        ("model/optimizers.py", True),
        ("model/recurrent.py", True),
        ("data/splits.py", True),
        ("evaluation/metrics.py", True),
        ("settings.py", True),
    ],
)
def test_a_change_of_code_moves_the_fingerprint_if_the_code_settles_numbers(
    copy: Path, module: str, moves: bool
) -> None:
    path = copy / "pipeline" / module
    before, content = fingerprint_in(copy), path.read_text()
    path.write_text(content + "\n# another line\n")
    try:
        assert moves == (fingerprint_in(copy) != before)
    finally:
        path.write_text(content)
