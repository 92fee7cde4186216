"""Parameters as they were typed, and the runs of a comparison, in a real store."""

import shlex

import pytest
from mlflow import MlflowClient

from pipeline.tracking import lifecycle, schema, store
from tests.runs import new_run

pytestmark = pytest.mark.usefixtures("new_store")


def test_a_comparison_has_its_children_and_the_runs_that_it_reused() -> None:
    first, second = new_run("first"), new_run("second")
    own, other, group = (
        lifecycle.create_child(store.get_run(first), name, {}).run_id for name in ("gru-s1", "gru-s2", "gru")
    )
    store.mark(group, first)
    for run_id in (own, other):
        store.mark(run_id, first)
        store.log_tags(run_id, {schema.PARENT: group})
    store.mark(own, second)

    assert {own, other, group} == {run.run_id for run in store.members(store.get_run(first))}
    assert [own] == [run.run_id for run in store.members(store.get_run(second))]
    assert [True, False] == [store.belongs_to(store.get_run(own), comparison) for comparison in (first, second)]


@pytest.mark.parametrize("typed", ["0.001", "it's", "a b"])
def test_a_parameter_is_read_as_it_was_typed_although_mlflow_run_logs_it_quoted(typed: str) -> None:
    run_id = new_run("quoted")
    MlflowClient().log_param(run_id, "source", shlex.quote(typed))
    assert {"source": typed} == store.get_run(run_id).params
