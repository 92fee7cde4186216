"""The functions of the package match the commands and their parameters."""

import inspect
import re

import pytest

import pipeline
from pipeline.commands import COMMANDS
from pipeline.errors import UsageError
from tests.unit.test_cli import options

OF_A_TERMINAL = {"serve", "doctor", "clean"}


def test_every_command_with_a_result_is_a_function() -> None:
    assert (COMMANDS.keys() - OF_A_TERMINAL) | {"load"} == set(pipeline.__all__)


@pytest.mark.parametrize("name", sorted(set(pipeline.__all__) - {"load", "predict"}))
def test_a_function_has_the_parameters_and_help_of_its_command(name: str) -> None:
    function, command = getattr(pipeline, name), options(name)
    ours = set(inspect.signature(function).parameters)

    assert command.keys() - {"quiet", "verbose", "config", "json", "format", "dry_run", "range"} == ours - {"ranges"}
    for option in ours - {"ranges"}:
        described = re.split(r" Default:| Required\.", " ".join(command[option].help.split()))[0]
        assert described in " ".join(str(function.__doc__).split())


def test_predict_has_the_options_of_its_command_that_do_not_say_where_the_answers_go() -> None:
    ours = set(inspect.signature(pipeline.predict).parameters)
    assert options("predict").keys() - {"quiet", "verbose", "json", "output", "on"} == ours


def test_what_no_function_takes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^limit: must be at least 1; got 0\."):
        pipeline.runs(limit=0)
    with pytest.raises(TypeError, match="data_set"):
        pipeline.runs(data_set="digits")


def test_the_package_has_nothing_else() -> None:
    assert {"run", "compare", "load"} <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'tune'"):
        _ = pipeline.tune
