"""What is proposed: the start first, then a function of the seed, the number and the trials before."""

import pytest

from pipeline.tuning import sampling, space
from pipeline.tuning.trials import Trial

RANGES = ["learning_rate=1e-4..1e-1:log", "hidden_units=64,128", "layers=1..3"]
SPACE = space.of({"cell": "gru"}, RANGES)


def trials(count: int) -> list[Trial]:
    """Return trials that are the better the nearer their learning rate is to 0.01."""
    found: list[Trial] = []
    for number in range(1, count + 1):
        chosen = sampling.proposed(SPACE, found, number=number, seed=1)
        accuracy = 1 - abs(float(chosen["learning_rate"]) - 0.01) / 0.1
        found.append(
            Trial(number=number, parameters=chosen, state="complete", accuracies={1: accuracy}, costs={1: 1 - accuracy})
        )
    return found


def test_the_first_trial_is_the_start() -> None:
    first = sampling.proposed(SPACE, [], number=1, seed=1)
    assert {"cell": "gru", "learning_rate": 0.001, "hidden_units": 128, "layers": 1} == first


def test_the_same_seed_and_trials_give_the_same_proposal_and_another_seed_another() -> None:
    before = trials(12)
    again, other = (sampling.proposed(SPACE, before[:11], number=12, seed=seed) for seed in (1, 2))
    assert before[11].parameters == again
    assert again != other


def test_what_is_proposed_is_in_its_range_and_can_be_typed() -> None:
    for trial in trials(15):
        rate = float(trial.parameters["learning_rate"])
        assert 1e-4 <= rate <= 1e-1
        assert rate == float(f"{rate:.3g}")
        assert trial.parameters["hidden_units"] in (64, 128)
        assert trial.parameters["layers"] in (1, 2, 3)


def test_what_matters_is_what_the_accuracy_was_made_of() -> None:
    found, epoch = sampling.importance(SPACE, trials(25))
    assert 1 == epoch
    assert "learning_rate" == max(found, key=lambda name: found[name])
    assert 0.999 < sum(found.values()) < 1.001


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mgu", "my_cells:MGU"])
def test_the_ranges_that_a_cell_has_unless_told_hold_its_start(cell: str) -> None:
    assert space.of({"cell": cell}, []).start(cell) is not None
