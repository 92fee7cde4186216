"""The identity of a run: fingerprints are equal exactly if everything that determines its numbers is; and names."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import disk, recipes
from pipeline.data.splits import DataSet, Split
from pipeline.errors import UsageError
from pipeline.execution.grid import grid
from pipeline.kinds.images import Images
from pipeline.settings import Settings
from pipeline.training import identity
from tests.unit.test_structure import ours

PARAMETERS = {"cell": "gru", "seed": 1, "data_dir": Path("data"), "source": "mirrors", "dataset": "mnist"}


@pytest.mark.parametrize(
    ("other", "digest", "is_same"),
    [
        ({}, "abc", True),
        ({}, "abd", False),
        ({"seed": 2}, "abc", False),
        ({"cell": "rnn"}, "abc", False),
        ({"data_dir": Path("elsewhere")}, "abc", True),
        ({"source": "/folder"}, "abc", True),
        ({"dataset": "custom"}, "abc", True),
    ],
)
def test_the_fingerprint_depends_on_parameters_and_data_but_not_on_paths(
    other: dict[str, object], digest: str, is_same: bool
) -> None:
    reordered = dict(reversed((PARAMETERS | other).items()))
    assert is_same == (identity.fingerprint_of(PARAMETERS, "abc") == identity.fingerprint_of(reordered, digest))


@pytest.fixture
def data() -> DataSet:
    split = Split(examples=np.zeros((100, 8, 8), np.uint8), labels=np.zeros(100, np.uint8))
    kind = Images(height=8, width=8)
    return DataSet(
        name="digits",
        digest="0" * 64,
        source="s",
        kind=kind,
        class_names=("0", "1"),
        train=split,
        validation=split,
        test=split,
        folder=Path(),
    )


def test_parameters_apply_to_the_data_and_have_no_credentials(data: DataSet) -> None:
    settings = Settings.of({"batch_size": 100, "source": "https://user:secret@a.b:80/c?token=secret#secret"})
    values = identity.parameters(settings, data)
    expected = {"dataset": "digits", "steps": 8, "batch_size": 100, "cell": "gru", "source": "https://a.b:80/c"}
    assert expected.items() <= values.items()


def test_a_batch_larger_than_the_training_part_is_refused(data: DataSet) -> None:
    with pytest.raises(
        UsageError, match="batch_size: must be at most 100, the number of training examples of digits; got 101"
    ):
        identity.parameters(Settings.of({"batch_size": 101}), data)


def test_the_code_of_the_fingerprint_imports_nothing_else_that_changes_numbers() -> None:
    """A file that does not change the numbers of a run belongs into the list here, any other into CODE."""
    code = {Path(name) for name in disk.modules(*identity.CODE)}
    imported = set(code)
    while new := {other for file in imported for other in ours(file)} - imported:
        imported |= new
    assert {"disk.py", "errors.py", "machine.py", "startup.py"} == {str(file) for file in imported - code}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the package that can be changed."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(disk.PACKAGE, folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def fingerprint_in(folder: Path) -> str:
    """Return the fingerprint of a run, computed by the code in ``folder``."""
    code = "from pipeline.training import identity; print(identity.fingerprint_of({'cell': 'gru'}, 'abc'))"
    run = [sys.executable, "-c", code]
    return subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("modules", "moves"),
    [
        (["cli/terminal.py", "progress.py", "recipes.py", "comparison/report.html", "training/training.py"], False),
        (["serving/server.py", "comparison/report.py"], False),
        (["model/recurrent.py"], True),
        (["data/splits.py"], True),
        (["evaluation/metrics.py"], True),
        (["settings.py"], True),
    ],
)
def test_the_fingerprint_changes_with_code_that_affects_results(copy: Path, modules: list[str], moves: bool) -> None:
    before, paths = fingerprint_in(copy), [copy / "pipeline" / module for module in modules]
    contents = [path.read_text() for path in paths]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content + "\n# another line\n")
    assert moves == (fingerprint_in(copy) != before)
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "dataset", "name"),
    [
        ({}, "mnist", "gru-s1"),
        ({"cell": "lstm", "recipe": "accurate", "seed": 3}, "custom-1a2b3c4d", "lstm-custom-1a2b3c4d-accurate-s3"),
        ({"learning_rate": 0.01}, "mnist", "gru-lr=0.01-s1"),
        (
            {"learning_rate": 1e-5, "epochs": 3, "hidden_units": 64},
            "digits",
            "gru-digits-units=64-lr=1e-05-epochs=3-s1",
        ),
        ({"recipe": "deep", "layers": 2, "direction": "forward"}, "mnist", "gru-deep-direction=forward-s1"),
        ({"cell": "rnn", "recipe": "accurate", "schedule": "constant"}, "mnist", "rnn-accurate-schedule=constant-s1"),
        ({"cell": "my_cells:MGU", "batch_size": 64}, "mnist", "my_cells:MGU-batch=64-s1"),
        ({"data_dir": "elsewhere", "shards": 1}, "mnist", "gru-s1"),
    ],
)
def test_a_run_is_named_by_its_differences_from_the_recipe(given: dict[str, object], dataset: str, name: str) -> None:
    assert name == identity.run_name(recipes.resolve(given), dataset)


def test_no_two_runs_of_a_grid_have_the_same_name() -> None:
    several = {"cells": "rnn,gru", "seeds": "1,2", "recipe": "tutorial,accurate", "layers": "1,2", "shards": "1,2"}
    names = identity.run_names(grid(several), "digits")
    assert 32 == len(set(names))
    assert "gru-digits-accurate-layers=2-shards=2-s1" in names


def test_a_comparison_is_named_by_its_cells_and_a_group_by_its_runs_without_the_seed() -> None:
    assert "compare-rnn-gru" == identity.parent_name("compare", grid({"cells": "rnn,gru"}), "mnist")
    quick = grid({"cells": "gru", "recipe": "quick"})
    assert "compare-gru-digits-quick" == identity.parent_name("compare", quick, "digits")
    assert "gru-lr=0.01" == identity.group_name(identity.run_name(Settings.of({"learning_rate": 0.01}), "mnist"))
