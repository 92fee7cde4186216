"""The runs of a comparison, in a real store."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from pipeline.tracking import lifecycle, schema, store
from tests.runs import new_run

pytestmark = pytest.mark.usefixtures("new_store")


def test_a_comparison_has_its_children_and_the_runs_that_it_reused() -> None:
    first, second = new_run("first"), new_run("second")
    own, other = lifecycle.create_child(first, "gru-s1", {}), lifecycle.create_child(first, "gru-s2", {})
    group = lifecycle.create_child(first, "gru", {})
    for run_id in (own, other):
        store.mark(run_id, first)
        store.log_tags(run_id, {schema.PARENT: group})
    store.mark(own, second)

    assert {own, other, group} == {run.run_id for run in store.members(first)}
    assert [own] == [run.run_id for run in store.members(second)]
    assert [True, False] == [store.belongs_to(store.get_run(own), comparison) for comparison in (first, second)]


def test_a_run_can_be_marked_by_several_comparisons_at_the_same_time() -> None:
    run_id, comparisons = new_run("gru-s1"), [new_run(f"comparison-{number}") for number in range(4)]
    with ThreadPoolExecutor(len(comparisons)) as pool:
        list(pool.map(lambda comparison: store.mark(run_id, comparison), comparisons))

    assert [[run_id]] * 4 == [[run.run_id for run in store.members(each)] for each in comparisons]


def test_a_run_of_a_permanently_removed_comparison_belongs_to_no_other() -> None:
    first, second = new_run("first"), new_run("second")
    training = lifecycle.create_child(first, "gru-s1", {})
    assert store.belongs_to(store.get_run(training), first)
    kind: Any = SqlAlchemyStore
    kind(os.environ["MLFLOW_TRACKING_URI"], "http://nowhere.invalid")._hard_delete_run(first)  # like `mlflow gc`

    assert not store.belongs_to(store.get_run(training), second)
