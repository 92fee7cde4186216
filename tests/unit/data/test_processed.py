import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.data import folders, processed, raw_data
from pipeline.data.datasets import CATALOGUE
from pipeline.data.raw_data import RawData
from pipeline.data.splits import DataSet
from pipeline.errors import DataError
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import STEMS, Remembering, labels, opened, published, set_digest, small_set, write

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = STEMS

CUSTOM = "custom-00000001"


def kept(data_dir: Path, name: str = CUSTOM, **changes: bytes) -> RawData:
    """The small set as raw data that came from ``/here``."""
    root = write(data_dir / "raw", {})
    return raw_data.keep(root, name, opened(small_set(**changes)), source="/here", origin="/here", inputs={}, code="c")


def saved(data_dir: Path, name: str = CUSTOM, **changes: bytes) -> DataSet:
    write(data_dir / "processed", {})
    return processed.save(kept(data_dir, name, **changes), data_dir=data_dir, code="code")


# --- kept and found again -------------------------------------------------------------------------------------------


def test_own_data_has_the_size_and_classes_that_its_files_hold(tmp_path: Path) -> None:
    data = saved(tmp_path, TEST_LABELS=labels([0, 1, 4, 0]))
    assert (2, 3, 5) == (data.height, data.width, data.classes)
    assert ("0", "1", "2", "3", "4") == data.class_names
    assert (CUSTOM, "/here") == (data.name, data.source)
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
    assert tmp_path / "processed" / f"{CUSTOM}-{digest[:8]}" == data.folder
    assert (digest, digest[:8]) == (data.digest, data.digest8)
    assert data.folder == processed.find(DataSettings(source="/here", data_dir=tmp_path)).folder
    assert data.folder == processed.find_by_digest(tmp_path, CUSTOM, digest).folder
    assert "code" == processed.code_of(data.folder)


def test_the_origin_is_that_of_the_source_that_was_named(tmp_path: Path) -> None:
    data = saved(tmp_path)
    raw_data.keep(tmp_path / "raw", CUSTOM, opened(small_set()), source="/there", origin="/there", inputs={}, code="c")
    assert "/here" == processed.load(data.folder).source
    assert "/there" == processed.find(DataSettings(source="/there", data_dir=tmp_path)).source


def test_what_is_not_there_yet_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    raw = kept(tmp_path)
    with pytest.raises(DataError, match=r"^data_dir: .* found none\. First run `pipeline preprocess --source /here"):
        processed.find(DataSettings(source="/here", data_dir=tmp_path))
    with pytest.raises(DataError, match=f"^data_dir: expected the processed data set {CUSTOM} .digest {raw.digest}"):
        processed.find_by_digest(tmp_path, CUSTOM, raw.digest)
    with pytest.raises(DataError, match=r"found none\. First run `pipeline preprocess`"):
        processed.load(tmp_path)


def test_the_whole_digest_decides(tmp_path: Path) -> None:
    digest = saved(tmp_path).digest
    with pytest.raises(DataError, match="found none"):
        processed.find_by_digest(tmp_path, CUSTOM, digest[:8] + "0" * 56)


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


# --- what a store or a manifest says ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "custom-1", "custom-0000000g", "", "mnist/../.."])
def test_a_name_that_this_pipeline_does_not_give_leads_nowhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"^dataset: expected the name of a known data set .* received '{name}' and"):
        processed.find_by_digest(tmp_path, name, "0" * 64)


@pytest.mark.parametrize("digest", ["../escaped", "0" * 63, "", "0" * 65, "A" * 64])
def test_what_is_no_digest_leads_nowhere(tmp_path: Path, digest: str) -> None:
    with pytest.raises(DataError, match=f"^dataset: expected .* received 'mnist' and '{digest}'"):
        processed.find_by_digest(tmp_path, "mnist", digest)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../escaped"),
        ("name", "mnist"),
        ("digest", "../escaped"),
        ("files", {"../../../secret": "0" * 64}),
        ("files", {}),
    ],
)
def test_a_manifest_that_this_pipeline_would_not_have_written_there_is_not_believed(
    tmp_path: Path, name: str, value: object
) -> None:
    data = saved(tmp_path)
    manifest = data.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {name: value}))
    assert processed.code_of(data.folder) is None
    with pytest.raises(DataError, match="found none"):
        processed.find_by_digest(tmp_path, data.name, data.digest)


# --- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full, as Linux has one")
@pytest.mark.parametrize("full", ["train_images.npy", "test_labels.npy", "examples.csv", "manifest.json"])
def test_a_full_disk_is_named_as_the_reason_and_nothing_left(tmp_path: Path, full: str) -> None:
    raw = kept(tmp_path)
    root = write(tmp_path / "processed", {})
    make = Path.mkdir

    def with_a_full_file(path: Path, *given: Any, **more: Any) -> None:
        make(path, *given, **more)
        if path.name.startswith(".incoming-"):
            (path / full).symlink_to("/dev/full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", with_a_full_file)
        with pytest.raises(DataError) as caught, folders.locked(root, Remembering()):
            processed.save(raw, data_dir=tmp_path, code="code")
    assert (
        f"data_dir: expected a folder to write to, received {root}: No space left on device. "
        "Make room or get permission there, or take another data_dir."
    ) == str(caught.value)
    assert [root / ".lock"] == list(root.iterdir())
