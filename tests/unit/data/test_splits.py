import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data import idx, splits
from pipeline.errors import DataError
from tests.unit.data_fixtures import STEMS, images, labels, small_set

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS


def arrays(**changes: bytes) -> list[npt.NDArray[np.uint8]]:
    return [idx.read(content, name=stem) for stem, content in small_set(**changes).items()]


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


def test_the_same_images_are_held_out_each_time() -> None:
    given = np.arange(100, dtype=np.uint8) % 2
    assert splits.hold_out(given)[1].tolist() == splits.hold_out(given)[1].tolist()


@pytest.mark.parametrize("given", [[0] * 30 + [1], [0, 1], list(range(30))])
def test_a_class_too_small_to_be_parted_is_no_obstacle(given: list[int]) -> None:
    train, validation = splits.hold_out(np.array(given, np.uint8))
    assert -(-len(given) // 10) == len(validation)
    assert list(range(len(given))) == sorted((*train, *validation))


def test_a_convention_that_would_leave_nothing_gives_way() -> None:
    train, validation = splits.hold_out(np.arange(20, dtype=np.uint8) % 2, first=20)
    assert (18, 2) == (len(train), len(validation))


# --- what does not fit together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"TRAIN_LABELS": labels([0, 1] * 9)}, f"{TRAIN_LABELS}: expected 20 labels, one for each image .*received 18"),
        ({"TRAIN_IMAGES": images(1_293)}, f"{TRAIN_LABELS}: expected 1,293 labels, one for each image .*received 20"),
        ({"TEST_LABELS": labels([0] * 5)}, f"{TEST_LABELS}: expected 4 labels, one for each image .*received 5"),
        ({"TEST_IMAGES": images(4, 3, 2)}, f"{TEST_IMAGES}: expected images of 2 × 3 pixels, .*received 3 × 2"),
        (
            {"TEST_IMAGES": images(0), "TEST_LABELS": labels([])},
            f"{TEST_IMAGES}: expected at least 1 images, received 0",
        ),
        (
            {"TRAIN_IMAGES": images(1), "TRAIN_LABELS": labels([0])},
            f"{TRAIN_IMAGES}: expected at least 2 images, received 1",
        ),
        ({"TRAIN_IMAGES": images(20, 0, 3)}, f"{TRAIN_IMAGES}: expected images of at least one pixel, received 0 × 3"),
        ({"TRAIN_LABELS": labels([3] * 20)}, f"{TRAIN_LABELS}: expected labels of at least 2 classes, .* the label 3"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(changes: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(DataError, match=f"^{complaint}"):
        splits.validate(arrays(**changes))


def test_a_label_that_a_known_data_set_does_not_have_is_refused() -> None:
    given = arrays(TEST_LABELS=labels([0, 1, 2, 0]))
    splits.validate(given)
    with pytest.raises(DataError, match=f"^{TEST_LABELS}: expected labels from 0 to 1, received 2 at example 2"):
        splits.validate(given, known_classes=2)
