"""The functions of the package: they are the commands, with their parameters."""

import inspect

import pytest

import pipeline
from pipeline import api
from tests.unit.test_cli import commands

HOUSE = {"serve", "doctor", "clean"}
"""The commands of a terminal alone."""


def test_every_command_that_gives_something_is_a_function() -> None:
    assert (commands().keys() - HOUSE) | {"load"} == set(pipeline.__all__)


@pytest.mark.parametrize("name", sorted(set(pipeline.__all__) - {"load"}))
def test_a_function_takes_what_its_command_takes(name: str) -> None:
    ours = set(inspect.signature(getattr(pipeline, name)).parameters)

    of_the_terminal = {
        "quiet",
        "verbose",
        "config",
        "as_json",
        "form",
        "dry_run",
        "output",
        "rollback",
        "filter_string",
    }
    if name == "predict":
        of_the_terminal |= {"on"}  # which is for a folder of answers
    theirs = {parameter.name for parameter in commands()[name].params}
    assert theirs - of_the_terminal == ours - {"filter", "output"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2], "1,2"), (range(1, 4), "1,2,3"), (("rnn", "gru"), "rnn,gru"), ("1-3", "1-3"), (5, 5)],
)
def test_several_values_are_a_text_parted_by_commas(value: object, expected: object) -> None:
    assert {"seeds": expected} == api._given({"seeds": value})


def test_the_package_has_nothing_else() -> None:
    assert {"run", "compare", "load"} <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'tune'"):
        _ = pipeline.tune
