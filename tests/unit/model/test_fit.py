"""The epochs of a run: what is reported of each, and the kept weights."""

from pipeline import epochs
from pipeline.model.fit import Fit
from tests.unit.model.test_trainer import assert_same, trainer


def test_each_epoch_is_reported_and_the_model_has_the_weights_of_the_kept_one() -> None:
    whole, short = (Fit(trainer(learning_rate=0.05)) for _ in range(2))
    told: list[tuple[int, int, int]] = []

    assert [1, 2, 3, 4, 5, 6] == [record.epoch for record in whole.epochs(6, lambda *progress: told.append(progress))]

    assert [(epoch, 10, 10) for epoch in range(1, 7)] == [each for each in told if each[1] == each[2]]
    assert [] == list(whole.epochs(6))
    list(short.epochs(epochs.best(whole.history).epoch))
    assert_same(short.trainer.weights(), whole.model().get_weights())
