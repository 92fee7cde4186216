from pipeline.comparison import grouping, provenance
from tests.unit.result_fixtures import result

PARAMS = {"hidden_units": "128", "batch_size": "128", "recipe": "accurate", "learning_rate": "1e-3"}


def test_what_all_share_is_said_once_and_what_differs_of_each() -> None:
    groups = grouping.grouped(
        result(cell, params=PARAMS | {"learning_rate": rate, "dropout": dropout})
        for cell, rate, dropout in (("rnn", "1e-3", "0.0"), ("lstm", "0.0025", "0.2"), ("gru", "0.0025", "0.2"))
    )
    said = dict(provenance.conditions(groups))
    assert {
        "Epochs": "2",
        "Hidden units": "128",
        "Learning rate": "0.001 (rnn), 0.0025 (lstm, gru)",
        "Batch size": "128",
        "Recipe": "accurate",
        "Other parameters": "dropout 0 (rnn), 0.2 (lstm, gru)",
    }.items() <= said.items()


def test_values_that_stand_in_the_labels_are_said_without_them() -> None:
    groups = grouping.grouped(result(params={"hidden_units": units}) for units in ("64", "128", "256"))
    assert "64, 128, 256" == dict(provenance.conditions(groups))["Hidden units"]


def test_parameters_that_are_the_defaults_are_not_listed() -> None:
    said = dict(provenance.conditions(grouping.grouped([result(params={"layers": "1", "augmentation": "affine"})])))
    assert "augmentation affine" == said["Other parameters"]


def test_in_short_it_names_parameters_code_and_machine() -> None:
    tags = {"mlflow.source.git.commit": "0c50a2691a1f4d2f", "machine": "a CPU, 2 cores, no GPU"}
    groups = grouping.grouped([result(params=PARAMS, tags=tags)])
    assert (
        "epochs 2 · hidden units 128 · learning rate 0.001 · batch size 128 · recipe accurate · code 0c50a269 · "
        "a CPU, 2 cores, no GPU"
    ) == provenance.in_short(groups)


def test_what_an_older_run_lacks_is_left_out_or_said_to_be() -> None:
    groups = grouping.grouped([result()])
    assert "epochs 2" == provenance.in_short(groups)
    assert "not recorded" == dict(provenance.conditions(groups))["Recipe"]
