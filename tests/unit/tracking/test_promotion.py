import math

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from pipeline.errors import UsageError
from pipeline.tracking.promotion import check_name, judge


def version(number: int, accuracy: float, digest: str = "a" * 64) -> ModelVersion:
    tags = {"best_val_accuracy": str(accuracy), "dataset_digest": digest}
    entities = [ModelVersionTag(*tag) for tag in tags.items()]  # type: ignore[no-untyped-call]
    return ModelVersion("m", str(number), 0, tags=entities)


@pytest.mark.parametrize(
    ("candidate", "champion", "outcome"),
    [
        (version(1, 0.5), None, "promoted"),
        (version(2, 0.9802), version(1, 0.98), "promoted"),
        (version(2, 0.98), version(1, 0.98), "not promoted"),
        (version(2, 0.97), version(1, 0.98), "not promoted"),
        (version(2, 0.99, "b" * 64), version(1, 0.98), "refused"),
        (version(2, 0.97, "b" * 64), version(1, 0.98), "refused"),
        (version(2, 0.99), version(1, math.nan, ""), "refused"),  # another program made this champion
    ],
)
def test_the_better_one_on_the_same_data_is_promoted_and_any_other_if_forced(
    candidate: ModelVersion, champion: ModelVersion | None, outcome: str
) -> None:
    assert [outcome, "promoted"] == [judge(candidate, champion, force=force)[0] for force in (False, True)]


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a/b", "a:b", "a@champion", "it's", "dig?2", "a#b", "100%", "a\\b", "a ", " a", "a\nb"),
        *("a\x1b[31mb", "a\u202eb", ".", "..", "-m", "n" * 257),
    ],
)
def test_a_name_that_does_not_fit_in_a_url_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name: must have at most 256 characters, none of"):
        check_name(name)


@pytest.mark.parametrize("name", ["mnist-gru", "Größe 2", "n" * 256, 'a!"$&()*+,-.;<=>[]^_`{|}~'])
def test_other_names_are_accepted(name: str) -> None:
    check_name(name)
