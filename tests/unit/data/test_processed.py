from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data import processed, raw_data
from pipeline.data.catalogue import CATALOGUE
from pipeline.data.raw_data import RawData
from pipeline.data.splits import DataSet
from pipeline.errors import DataError
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import STEMS, labels, opened, published, set_digest, small_set, write

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS


def kept(data_dir: Path, name: str = "custom-1", **changes: bytes) -> RawData:
    """The small set as raw data that came from ``/here``."""
    root = write(data_dir / "raw", {})
    return raw_data.keep(root, name, opened(small_set(**changes)), source="/here", origin="/here", inputs={}, code="c")


def saved(data_dir: Path, name: str = "custom-1", **changes: bytes) -> DataSet:
    write(data_dir / "processed", {})
    return processed.save(kept(data_dir, name, **changes), data_dir=data_dir, code="code")


# --- kept and found again -------------------------------------------------------------------------------------------


def test_own_data_has_the_size_and_classes_that_its_files_hold(tmp_path: Path) -> None:
    data = saved(tmp_path, TEST_LABELS=labels([0, 1, 4, 0]))
    assert (2, 3, 5) == (data.height, data.width, data.classes)
    assert ("0", "1", "2", "3", "4") == data.class_names
    assert ("custom-1", "/here") == (data.name, data.source)
    assert (18, 2, 4) == (len(data.train.labels), len(data.validation.labels), len(data.test.labels))


def test_each_image_keeps_its_label(tmp_path: Path) -> None:
    data = saved(tmp_path, TRAIN_LABELS=labels([*range(20)]))
    # The small set's pixels count up from 0, so an image's first pixel is six times its index.
    for split in (data.train, data.validation):
        assert [[[6 * k, 6 * k + 1, 6 * k + 2], [6 * k + 3, 6 * k + 4, 6 * k + 5]] for k in split.labels.tolist()] == (
            split.images.tolist()
        )


def test_arrays_are_mapped_and_not_to_be_written(tmp_path: Path) -> None:
    for split in (saved(tmp_path).train, saved(tmp_path).test):
        assert isinstance(split.images, np.memmap)
        assert np.uint8 == split.images.dtype == split.labels.dtype
        assert not split.images.flags.writeable


def test_a_known_data_set_has_its_class_names_and_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    data = saved(tmp_path, "mnist")
    assert ("no", "yes") == data.class_names
    assert small_set()[TRAIN_IMAGES][16:][: 5 * 6] == data.validation.images.tobytes()
    assert small_set()[TRAIN_IMAGES][16:][5 * 6 :] == data.train.images.tobytes()
    assert small_set()[TEST_IMAGES][16:] == data.test.images.tobytes()


def test_the_table_has_one_line_per_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    actual = pd.read_csv(saved(tmp_path, "mnist").folder / "examples.csv")
    expected = pd.DataFrame(
        {
            "split": ["train"] * 15 + ["validation"] * 5 + ["test"] * 4,
            "index": [*range(5, 20), *range(5), *range(4)],
            "label": [*([1, 0] * 7), 1, 0, 1, 0, 1, 0, 1, 1, 0, 0],
        }
    )
    pd.testing.assert_frame_equal(expected, actual)


def test_it_is_found_by_the_settings_and_by_its_digest(tmp_path: Path) -> None:
    data = saved(tmp_path)
    digest = set_digest(small_set())
    assert tmp_path / "processed" / f"custom-1-{digest[:8]}" == data.folder
    assert (digest, digest[:8]) == (data.digest, data.digest8)
    assert data.folder == processed.find(DataSettings(source="/here", data_dir=tmp_path)).folder
    assert data.folder == processed.find_by_digest(tmp_path, "custom-1", digest).folder
    assert "code" == processed.code_of(data.folder)


def test_the_origin_is_that_of_the_source_that_was_named(tmp_path: Path) -> None:
    data = saved(tmp_path)
    raw_data.keep(
        tmp_path / "raw", "custom-1", opened(small_set()), source="/there", origin="/there", inputs={}, code="c"
    )
    assert "/here" == processed.load(data.folder).source
    assert "/there" == processed.find(DataSettings(source="/there", data_dir=tmp_path)).source


def test_what_is_not_there_yet_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    raw = kept(tmp_path)
    with pytest.raises(DataError, match=r"^data_dir: .* found none\. First run `pipeline preprocess --source /here"):
        processed.find(DataSettings(source="/here", data_dir=tmp_path))
    with pytest.raises(DataError, match=f"^data_dir: expected the processed data set custom-1 .digest {raw.digest}"):
        processed.find_by_digest(tmp_path, "custom-1", raw.digest)
    with pytest.raises(DataError, match=r"found none\. First run `pipeline preprocess`"):
        processed.load(tmp_path)


def test_the_whole_digest_decides(tmp_path: Path) -> None:
    digest = saved(tmp_path).digest
    with pytest.raises(DataError, match="found none"):
        processed.find_by_digest(tmp_path, "custom-1", digest[:8] + "0" * 56)


@pytest.mark.parametrize("name", ["train_images.npy", "validation_labels.npy", "examples.csv"])
def test_a_file_that_changed_is_named(name: str, tmp_path: Path) -> None:
    data = saved(tmp_path)
    path = data.folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=f"{name}: expected the digest .* Run `pipeline preprocess` to make it again"):
        processed.find_by_digest(tmp_path, data.name, data.digest)


def test_a_folder_whose_arrays_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path).folder
    (folder / "test_images.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected a whole data set: .*Run `pipeline preprocess` again"):
        processed.load(folder)
