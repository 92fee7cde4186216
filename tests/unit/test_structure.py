"""The imports of the package point downward only, and the costly ones stay where they are needed."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pipeline"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# From the bottom to the top; a module imports from rows above its own only.
LAYERS = [
    {"__init__", "errors", "digests", "reporting", "scoring", "recipes", "augmentation"},
    {"settings", "idx", "folders", "pictures", "answers"},
    {"datasets", "recurrent", "optimizers", "metrics"},
    {"sources"},
    {"raw_data"},
    {"splits", "network", "figures", "checkpoints"},
    {"training", "tracking", "workers", "comparison"},
    {"resumable", "comparison_figures", "registry"},
    {"report", "serving"},
    {"stages/download", "stages/preprocess", "stages/train", "stages/evaluate", "stages/report", "stages/promote"},
    {"stages/predict", "stages/serve"},
    {"stages/__init__", "stages/run"},
    {"stages/compare"},
    {"terminal"},
    {"cli"},
    {"__main__"},
]


def name_of(file: Path) -> str:
    return file.with_suffix("").as_posix()


def imports_of(file: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_of_ours(file: Path) -> set[str]:
    """Return the modules of the package that a file imports."""
    names = set()
    for dotted in imports_of(file):
        parts = dotted.split(".")
        if parts[0] == "pipeline":
            candidates = ["/".join(parts[1:end]) for end in range(2, len(parts) + 1)]
            names |= {name for name in candidates if (PACKAGE / f"{name}.py").exists()}
    return names


def layer_of(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_its_layer() -> None:
    assert {name_of(file) for file in FILES} == set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_module_imports_from_the_layers_below_it_only(file: Path) -> None:
    assert all(layer_of(name) < layer_of(name_of(file)) for name in modules_of_ours(file))


def users_of(package: str) -> set[str]:
    return {name_of(file) for file in FILES if any(name.split(".")[0] == package for name in imports_of(file))}


def test_only_what_talks_to_mlflow_or_is_run_by_it_imports_it() -> None:
    assert {"tracking", "registry", "scoring", "serving"} == users_of("mlflow")


def test_the_data_is_prepared_without_tensorflow() -> None:
    of_training = {"augmentation", "network", "recurrent", "training", "stages/train"}
    of_models = {"scoring", "stages/evaluate", "stages/promote", "stages/predict", "stages/serve"}
    assert of_training | of_models == users_of("tensorflow")


def test_only_the_terminal_draws() -> None:
    assert {"terminal"} == users_of("rich")
