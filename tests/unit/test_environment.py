"""Versions that are written in several files are the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(item.name): str(item.specifier).removeprefix("==") for item in requirements}


LINES = (PROJECT / "constraints.txt").read_text().splitlines()
CONSTRAINTS = pins([line for line in LINES if line and not line.startswith("#")])
CONDA = pins(yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"][-1]["pip"])
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_conda_names_the_dependencies_of_the_project_with_the_versions_of_the_constraints() -> None:
    assert {canonicalize_name(Requirement(line).name) for line in SETTINGS["project"]["dependencies"]} == CONDA.keys()
    assert CONDA == {name: CONSTRAINTS[name] for name in CONDA}


def test_the_pins_are_in_the_ranges_of_the_project() -> None:
    groups = [*SETTINGS["project"]["dependencies"], *SETTINGS["dependency-groups"]["test"]]
    groups += [line for extra in SETTINGS["project"]["optional-dependencies"].values() for line in extra]
    for requirement in map(Requirement, groups):
        assert requirement.specifier.contains(CONSTRAINTS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_a_page_installs_the_mlflow_that_the_project_pins(page: str) -> None:
    pinned = set(re.findall(r"mlflow==([\d.]+)", (PROJECT / page).read_text(encoding="utf-8")))
    assert {CONDA["mlflow"]} == pinned


def test_the_constraints_name_no_registry_and_there_is_no_uv_lock() -> None:
    assert not re.search(r"https?:|--index|--find-links", (PROJECT / "constraints.txt").read_text())
    assert not (PROJECT / "uv.lock").exists()
