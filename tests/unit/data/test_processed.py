from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data import processed, raw_data
from pipeline.data.datasets import CATALOGUE
from pipeline.data.splits import DataSet
from pipeline.errors import DataError
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import TEST_IMAGES as GIVEN_TEST_IMAGES
from tests.unit.data_fixtures import TRAIN_IMAGES, Remembering, labels, opened, published, set_digest, small_set, write

CUSTOM = "custom-00000001"


def saved(data_dir: Path, name: str = CUSTOM, reporter: Remembering | None = None, **changes: bytes) -> DataSet:
    """The small set, which came from ``/here``, in three splits."""
    root = write(data_dir / "raw", {})
    raw = raw_data.keep(root, name, opened(small_set(**changes)), source="/here", origin="/here", inputs={})
    return processed.split(raw, data_dir, reporter or Remembering())


def test_size_and_classes_are_those_of_the_files(tmp_path: Path) -> None:
    data = saved(tmp_path, TEST_LABELS=labels([0, 1, 4, 0]))
    assert (2, 3, 5) == (*data.kind.shape, data.classes)
    assert ("0", "1", "2", "3", "4") == data.class_names
    assert (CUSTOM, "/here", set_digest(small_set(TEST_LABELS=labels([0, 1, 4, 0])))) == (
        data.name,
        data.source,
        data.digest,
    )


def test_each_image_keeps_its_label(tmp_path: Path) -> None:
    data = saved(tmp_path, TRAIN_LABELS=labels([*range(20)]))
    # The small set's pixels count up from 0, so an image's first pixel is six times its index.
    for split in (data.train, data.validation):
        assert [[[6 * k, 6 * k + 1, 6 * k + 2], [6 * k + 3, 6 * k + 4, 6 * k + 5]] for k in split.labels.tolist()] == (
            split.examples.tolist()
        )


def test_arrays_are_mapped_and_not_writeable(tmp_path: Path) -> None:
    for split in (saved(tmp_path).train, saved(tmp_path).test):
        assert isinstance(split.examples, np.memmap)
        assert np.uint8 == split.examples.dtype == split.labels.dtype
        assert not split.examples.flags.writeable


def test_a_known_data_set_has_its_class_names_and_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    data = saved(tmp_path, "mnist")
    assert ("no", "yes") == data.class_names
    assert small_set()[TRAIN_IMAGES][16:] == data.validation.examples.tobytes() + data.train.examples.tobytes()
    assert small_set()[GIVEN_TEST_IMAGES][16:] == data.test.examples.tobytes()
    expected = pd.DataFrame(
        {
            "split": ["train"] * 15 + ["validation"] * 5 + ["test"] * 4,
            "index": [*range(5, 20), *range(5), *range(4)],
            "label": [*([1, 0] * 7), 1, 0, 1, 0, 1, 0, 1, 1, 0, 0],
        }
    )
    pd.testing.assert_frame_equal(expected, pd.read_csv(data.folder / "examples.csv"))


def test_it_is_found_by_the_settings_and_by_its_digest(tmp_path: Path) -> None:
    data, digest = saved(tmp_path), set_digest(small_set())
    assert data.folder == processed.find(DataSettings(source="/here", data_dir=tmp_path)).folder
    assert data.folder == processed.find_by_digest(tmp_path, CUSTOM, digest).folder
    with pytest.raises(DataError, match="found none"):
        processed.find_by_digest(tmp_path, CUSTOM, digest[:8] + "0" * 56)


def test_missing_data_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    saved(tmp_path).folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"^data_dir: .* found none\. First run `pipeline preprocess --source /here"):
        processed.find(DataSettings(source="/here", data_dir=tmp_path))
    digest = set_digest(small_set())
    with pytest.raises(DataError, match=f"^data_dir: expected the processed data set {CUSTOM} .digest {digest}"):
        processed.find_by_digest(tmp_path, CUSTOM, digest)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        *((name, "0" * 64) for name in ("../escaped", "/escaped", "custom-1", "custom-0000000g", "", "mnist/../..")),
        *(("mnist", digest) for digest in ("../escaped", "0" * 63, "", "0" * 65, "A" * 64)),
    ],
)
def test_a_name_or_digest_that_this_pipeline_does_not_give_leads_nowhere(
    tmp_path: Path, name: str, digest: str
) -> None:
    with pytest.raises(DataError, match=f"^dataset: expected the name of .* received '{name}' and '{digest}'"):
        processed.find_by_digest(tmp_path, name, digest)


def test_classes_that_are_too_small_are_reported(tmp_path: Path) -> None:
    for _ in range(2):
        reporter = Remembering()
        saved(tmp_path, reporter=reporter, TRAIN_LABELS=labels([0, 1] * 9 + [2, 3]), TEST_LABELS=labels([0, 2, 5, 6]))
        assert [
            f"{CUSTOM}: these classes have no training image, so their test images will be classified wrongly: 5, 6.",
            f"{CUSTOM}: these classes have a single image, which is trained on and not held out for validation: 2, 3.",
            f"{CUSTOM}: these classes have no test image: 1, 3.",
        ] == reporter.notes[1:]


def test_data_of_other_code_is_superseded_if_its_raw_data_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path).folder
    assert [] == processed.superseded(tmp_path)
    processed.remove_superseded(folder, tmp_path, Remembering())
    assert folder.exists()
    monkeypatch.setattr(processed, "code", lambda: "other")
    assert [folder] == processed.superseded(tmp_path)
    (tmp_path / "raw" / CUSTOM).rename(tmp_path / "elsewhere")
    assert [] == processed.superseded(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "raw" / CUSTOM)
    processed.remove_superseded(folder, tmp_path, Remembering())
    assert not folder.exists()
