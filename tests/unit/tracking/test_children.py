"""The children of a comparison: those that it has trained, and those that it has taken over and that stay elsewhere."""

from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from pipeline.tracking import runs, store


@pytest.fixture(autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("children")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", None)  # what others have set


def test_children_are_found_by_what_they_say_themselves() -> None:
    first, second = store.begin_run("first", {}), store.begin_run("second", {})
    for comparison in (first, second):
        store.add_to_comparison(comparison, comparison)
    own, other = store.create_child(first, "gru-s1", {}), store.create_child(first, "gru-s2", {})
    group = store.create_child(first, "gru", {runs.COMPARISON: first})
    for run_id in (own, other):
        store.add_to_comparison(run_id, first)
        store.log_tags(run_id, {runs.PARENT: group})
    store.add_to_comparison(own, second)

    assert {own, other, group} == {run.run_id for run in store.children_of(first)}
    assert [own] == [run.run_id for run in store.children_of(second)]


def test_a_run_that_several_comparisons_mark_at_the_same_time_is_of_all_of_them() -> None:
    run_id, others = store.begin_run("gru-s1", {}), [f"{number:032x}" for number in range(6)]
    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(lambda comparison: store.add_to_comparison(run_id, comparison), others))

    assert sorted(others) == sorted(store.get_run(run_id).tags[runs.COMPARISON].split(","))


def test_what_a_former_version_has_listed_stays_when_another_comparison_marks_the_run() -> None:
    run_id = store.begin_run("gru-s1", {runs.COMPARISON: "a,b"})
    store.add_to_comparison(run_id, "c")

    assert "a,b,c" == store.get_run(run_id).tags[runs.COMPARISON]


def test_what_a_former_version_has_listed_counts() -> None:
    parent, child = store.begin_run("comparison", {}), store.begin_run("gru-s1", {})
    store.log_tags(parent, {runs.CHILDREN: child})

    assert [child] == [run.run_id for run in store.children_of(parent)]
