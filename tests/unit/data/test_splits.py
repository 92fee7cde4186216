import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from pipeline.data import idx, splits
from pipeline.data.contents import Contents, Part
from pipeline.errors import DataError
from tests.unit.data_fixtures import STEMS, images, labels, small_set

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS


def contents(**changes: bytes) -> Contents:
    arrays = [idx.read(content, name=stem) for stem, content in small_set(**changes).items()]
    train, test = (Part(examples=arrays[at], labels=arrays[at + 1]) for at in (0, 2))
    return Contents(name="", features=(), class_names=(), train=train, test=test)


# --- which images are held out --------------------------------------------------------------------------------------


def test_by_convention_the_first_images_are_held_out() -> None:
    train, validation = splits.hold_out(np.zeros(60_000, np.uint8), first=5_000)
    assert (list(range(5_000)), list(range(5_000, 60_000))) == (validation.tolist(), train.tolist())


def test_a_tenth_of_each_class_is_held_out_of_other_data() -> None:
    given = np.repeat(np.arange(3, dtype=np.uint8), (100, 200, 50))
    train, validation = splits.hold_out(given)
    assert [10, 20, 5] == np.bincount(given[validation]).tolist()
    assert list(range(350)) == sorted((*train, *validation))
    assert sorted(train) == train.tolist()


def test_a_class_with_a_single_image_is_trained_on_and_the_others_stay_stratified() -> None:
    given = np.array([*np.repeat(np.arange(9, dtype=np.uint8), 30), 9, 10], np.uint8)
    train, validation = splits.hold_out(given)
    assert [3] * 9 == np.bincount(given[validation]).tolist()
    assert [*([27] * 9), 1, 1] == np.bincount(given[train]).tolist()
    alone = splits.hold_out(given[:270])  # the others are split as if it were not there
    assert alone[1].tolist() == validation.tolist()


def test_more_classes_than_a_tenth_of_the_images_are_stratified() -> None:
    given = np.repeat(np.arange(10, dtype=np.uint8), 4)
    train, validation = splits.hold_out(given)
    assert [1] * 10 == np.bincount(given[validation]).tolist()
    assert [3] * 10 == np.bincount(given[train]).tolist()


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


def test_a_convention_that_would_leave_nothing_gives_way() -> None:
    train, validation = splits.hold_out(np.arange(20, dtype=np.uint8) % 2, first=20)
    assert (18, 2) == (len(train), len(validation))


# --- what does not fit together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"TRAIN_LABELS": labels([0, 1] * 9)},
            f"{TRAIN_IMAGES}: expected a label for each of 20 examples.* 18",
        ),
        ({"TRAIN_IMAGES": images(1_293)}, f"{TRAIN_IMAGES}: expected a label for each of 1,293 examples, received 20"),
        ({"TEST_LABELS": labels([0] * 5)}, f"{TEST_IMAGES}: expected a label for each of 4 examples, received 5"),
        (
            {"TEST_IMAGES": images(4, 3, 2)},
            f"{TEST_IMAGES}: expected 2 × 3 pixels as in {TRAIN_IMAGES}.* 3 × 2",
        ),
        (
            {"TEST_IMAGES": images(0), "TEST_LABELS": labels([])},
            f"{TEST_IMAGES}: expected at least one non-empty example",
        ),
        ({"TRAIN_IMAGES": images(20, 0, 3)}, f"{TRAIN_IMAGES}: expected at least one non-empty example"),
        ({"TRAIN_LABELS": labels([3] * 20)}, f"{TRAIN_IMAGES}: expected at least 2 classes, .* only the label 3"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(changes: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(DataError, match=f"^{complaint}"):
        splits.validate(contents(**changes))


def test_a_label_that_a_known_data_set_does_not_have_is_refused() -> None:
    given = contents(TEST_LABELS=labels([0, 1, 2, 0]))
    splits.validate(given)
    with pytest.raises(DataError, match=f"^{TEST_LABELS}: expected labels from 0 to 1, received 2 at example 2"):
        splits.validate(given, known_classes=2)
