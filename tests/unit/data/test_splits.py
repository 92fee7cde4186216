"""The examples that are held out for validation."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from pipeline.data import splits


def test_by_convention_the_first_images_are_held_out() -> None:
    train, validation = splits.hold_out(np.zeros(60_000, np.uint8), first=5_000)
    assert (list(range(5_000)), list(range(5_000, 60_000))) == (validation.tolist(), train.tolist())


@pytest.mark.parametrize(
    ("counts", "held_out"),
    [
        ((100, 200, 50), (10, 20, 5)),
        ((4,) * 10, (1,) * 10),  # more classes than a tenth of the examples
        ((30,) * 9 + (1, 1), (3,) * 9 + (0, 0)),
    ],
)
def test_a_tenth_of_each_class_is_held_out_but_not_its_only_example(
    counts: tuple[int, ...], held_out: tuple[int, ...]
) -> None:
    given = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    train, validation = splits.hold_out(given)
    assert held_out == tuple(np.bincount(given[validation], minlength=len(counts)))
    assert list(range(len(given))) == sorted((*train, *validation))
    assert sorted(train) == train.tolist()


@pytest.mark.parametrize(
    ("given", "held_out"), [([0] * 30 + [1], 3), ([0, 1], 1), (list(range(30)), 3), ([0, 0, 1], 1)]
)
def test_some_examples_are_held_out_of_the_smallest_classes(given: list[int], held_out: int) -> None:
    train, validation = splits.hold_out(np.array(given, np.uint8))
    assert held_out == len(validation)
    assert list(range(len(given))) == sorted((*train, *validation))


@pytest.mark.parametrize("counts", [(100, 200, 50), (2, 300, 40), (37, 41, 43)])
def test_data_without_small_classes_is_split_as_by_scikit_learn_alone(counts: tuple[int, ...]) -> None:
    given = np.repeat(np.arange(3, dtype=np.uint8), counts)
    expected = train_test_split(np.arange(len(given)), test_size=0.1, random_state=20_240_501, stratify=given)
    assert [sorted(part) for part in expected] == [part.tolist() for part in splits.hold_out(given)]
