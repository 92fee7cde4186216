"""Versions that are written in several files are the same."""

import re
import tomllib
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(item.name): str(item.specifier).removeprefix("==") for item in requirements}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


@pytest.fixture(scope="module")
def conda() -> dict[str, str]:
    return pins(yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"][-1]["pip"])


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_conda_names_the_dependencies_of_the_project(conda: dict[str, str], project: dict[str, Any]) -> None:
    assert {canonicalize_name(Requirement(line).name) for line in project["project"]["dependencies"]} == conda.keys()


def test_conda_and_the_constraints_pin_the_same_versions(conda: dict[str, str], constraints: dict[str, str]) -> None:
    assert conda == {name: constraints[name] for name in conda}


def test_the_pins_are_in_the_ranges_of_the_project(constraints: dict[str, str], project: dict[str, Any]) -> None:
    groups = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
    groups += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    for requirement in map(Requirement, groups):
        assert requirement.specifier.contains(constraints[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_a_page_installs_the_mlflow_that_the_project_pins(conda: dict[str, str], page: str) -> None:
    pinned = set(re.findall(r"mlflow==([\d.]+)", (PROJECT / page).read_text(encoding="utf-8")))
    assert {conda["mlflow"]} == pinned


def test_the_tests_run_with_the_pinned_mlflow(conda: dict[str, str], project: dict[str, Any]) -> None:
    assert conda["mlflow"] == mlflow.__version__
    assert project["project"]["optional-dependencies"]["gpu"][0].startswith("tensorflow[and-cuda]")


def test_the_constraints_name_no_registry_and_there_is_no_uv_lock() -> None:
    assert not re.search(r"https?:|--index|--find-links", (PROJECT / "constraints.txt").read_text())
    assert not (PROJECT / "uv.lock").exists()
