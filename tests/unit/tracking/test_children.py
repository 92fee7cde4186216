"""The children of a comparison: those that it has trained, and those that it has taken over and that stay elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.tracking import children, lifecycle, schema, store
from tests.runs import new_run
from tests.unit.tracking.test_lifecycle import remove_for_good

pytestmark = pytest.mark.usefixtures("new_store")


def test_children_are_found_by_what_they_say_themselves() -> None:
    first, second = new_run("first"), new_run("second")
    for comparison in (first, second):
        children.mark(comparison, comparison)
    own, other = lifecycle.create_child(first, "gru-s1", {}), lifecycle.create_child(first, "gru-s2", {})
    group = lifecycle.create_child(first, "gru", {schema.COMPARISON: first})
    for run_id in (own, other):
        children.mark(run_id, first)
        store.log_tags(run_id, {schema.PARENT: group})
    children.mark(own, second)

    assert {own, other, group} == {run.run_id for run in children.of(first)}
    assert [own] == [run.run_id for run in children.of(second)]


def test_a_run_that_several_comparisons_mark_at_the_same_time_is_of_all_of_them() -> None:
    run_id, others = new_run("gru-s1"), [f"{number:032x}" for number in range(6)]
    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(lambda comparison: children.mark(run_id, comparison), others))

    assert sorted(others) == sorted(store.get_run(run_id).tags[schema.COMPARISON].split(","))


def test_a_run_of_more_comparisons_than_a_tag_can_name_is_found_by_each() -> None:
    """MLflow cuts a tag at 8,000 characters, which are 242 ids."""
    run_id, others = new_run("gru-s1"), [f"{number:032x}" for number in range(children.LISTED + 50)]
    store.log_tags(run_id, {f"{schema.MARK}{comparison}": "true" for comparison in others})
    last = new_run("comparison")
    children.mark(run_id, last)

    run = store.get_run(run_id)
    assert (children.LISTED, last) == (len(run.comparisons), run.comparisons[-1])
    assert {*others, last} == run.marks

    for other in others[:60]:  # as if its list had no room for the last any more
        children.mark(run_id, other)
    first = new_run("first")
    store.log_tags(run_id, {f"{schema.MARK}{first}": "true"})
    assert first not in store.get_run(run_id).comparisons
    assert [run_id] == [run.run_id for run in children.of(first)]


def test_a_training_whose_comparison_was_removed_for_good_belongs_to_no_other() -> None:
    first, second = new_run("first"), new_run("second")
    training = lifecycle.create_child(first, "gru-s1", {})
    assert children.belongs_to(store.get_run(training), first)
    remove_for_good(first)

    assert not children.belongs_to(store.get_run(training), second)


def test_the_run_of_mlflow_run_is_continued_though_the_server_was_away_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = new_run("gru")
    monkeypatch.setenv("MLFLOW_RUN_ID", own)
    start, away = mlflow.MlflowClient.get_run, iter([False, True])  # not for its name, but when it is opened

    def fails_once(client: mlflow.MlflowClient, run_id: str) -> object:
        if next(away, False):
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return start(client, run_id)

    monkeypatch.setattr(mlflow.MlflowClient, "get_run", fails_once)
    with lifecycle.open_run("gru", {}) as opened:
        assert own == opened.run_id
