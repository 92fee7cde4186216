from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pipeline import digests
from pipeline.data.splits import DataSet
from pipeline.errors import DataError
from pipeline.settings import DatasetName, DataSettings
from pipeline.stages.download import download
from pipeline.stages.preprocess import preprocess
from tests.unit.data_fixtures import TEST_LABELS, Remembering, everything_in, labels, set_digest, small_set, write

CUSTOM = f"custom-{set_digest(small_set())[:8]}"


@dataclass
class Desk:
    """A folder of a user's own files, a data_dir, and what the last preprocessing said."""

    folder: Path
    data_dir: Path
    notes: list[str] = field(default_factory=list)

    def settings(self, source: str | None = None, dataset: DatasetName = "mnist") -> DataSettings:
        return DataSettings(dataset=dataset, source=source or str(self.folder), data_dir=self.data_dir)

    def preprocess(self, settings: DataSettings | None = None) -> DataSet:
        reporter = Remembering()
        self.notes = reporter.notes
        return preprocess(settings or self.settings(), reporter)

    @property
    def skipped(self) -> bool:
        return self.notes[0].startswith("Skipped preprocess: ")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(write(tmp_path / "mine", small_set()), tmp_path / "data")
    download(desk.settings(), Remembering())
    return desk


def test_downloaded_data_is_split(desk: Desk) -> None:
    data = desk.preprocess()
    digest8 = set_digest(small_set())[:8]
    assert desk.data_dir / "processed" / f"{CUSTOM}-{digest8}" == data.folder
    assert [f"Preprocessed {CUSTOM} into {data.folder}: 18 train, 2 validation, 4 test images."] == desk.notes
    arrays = [f"{split}_{what}.npy" for split in ("test", "train", "validation") for what in ("images", "labels")]
    assert ["examples.csv", "manifest.json", *arrays] == everything_in(data.folder)


def test_what_is_unchanged_and_intact_is_skipped(desk: Desk) -> None:
    first = desk.preprocess()
    second = desk.preprocess()
    assert [f"Skipped preprocess: {CUSTOM} in {first.folder} is unchanged and intact."] == desk.notes
    assert first.train.images.tolist() == second.train.images.tolist()


def test_changed_data_is_not_skipped(desk: Desk) -> None:
    desk.preprocess()
    write(desk.folder, small_set(TEST_LABELS=labels([0] * 4)))
    download(desk.settings(), Remembering())
    assert [0] * 4 == desk.preprocess().test.labels.tolist()
    assert not desk.skipped


def test_changed_code_is_not_skipped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.preprocess()
    monkeypatch.setattr(digests, "of_code", lambda *names: f"other code in {names}")
    desk.preprocess()
    assert not desk.skipped


@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "examples.csv", "manifest.json"])
def test_a_damaged_output_is_made_again(desk: Desk, name: str) -> None:
    path = desk.preprocess().folder / name
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    desk.preprocess()
    assert not desk.skipped
    assert before == path.read_bytes()
    desk.preprocess()
    assert desk.skipped


def test_without_a_download_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^data_dir: expected digits in .*First run `pipeline download --dataset digits"
    ):
        preprocess(DataSettings(dataset="digits", data_dir=tmp_path), Remembering())
    assert [] == list(tmp_path.iterdir())


def test_a_raw_file_that_changed_is_not_trusted(desk: Desk) -> None:
    desk.preprocess()
    raw = desk.data_dir / "raw" / CUSTOM / TEST_LABELS
    raw.write_bytes(labels([0] * 4))
    with pytest.raises(DataError, match=f"^{raw}: expected the digest .* Run `pipeline download` again"):
        desk.preprocess()


def test_files_that_do_not_fit_together_leave_nothing(desk: Desk) -> None:
    write(desk.folder, small_set(TEST_LABELS=labels([0, 1])))
    download(desk.settings(), Remembering())
    with pytest.raises(DataError, match=f"^{TEST_LABELS}: expected 4 labels"):
        desk.preprocess()
    assert [] == everything_in(desk.data_dir / "processed")


def test_labels_that_only_test_images_have_are_told_each_time(desk: Desk) -> None:
    write(desk.folder, small_set(TEST_LABELS=labels([0, 1, 3, 2])))
    raw = download(desk.settings(), Remembering())
    for _ in range(2):
        assert 4 == desk.preprocess().classes
        assert (
            f"No training image of {raw.name} has the label 2, 3 of some test images: they will be answered wrongly."
        ) == desk.notes[1]


def test_digits_are_split_by_class(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path / "data")
    settings = desk.settings("mirrors", "digits")
    download(settings, Remembering())
    data = desk.preprocess(settings)
    assert (1293, 144, 360) == (len(data.train.labels), len(data.validation.labels), len(data.test.labels))
    assert ("digits", "scikit-learn", (8, 8, 10)) == (data.name, data.source, (data.height, data.width, data.classes))
    assert [True] * 10 == [12 <= count <= 16 for count in np.bincount(data.validation.labels)]


def test_published_mnist_is_split_as_the_tutorial_did(mnist_folder: Path, tmp_path: Path) -> None:
    desk = Desk(mnist_folder, tmp_path / "data")
    download(desk.settings(), Remembering())
    data = desk.preprocess()
    assert (55_000, 28, 28) == data.train.images.shape
    assert (5_000, 28, 28) == data.validation.images.shape
    assert (10_000, 28, 28) == data.test.images.shape
    # The training labels begin 5 0 4 1 9, the test labels 7 2 1 0 4: the first figures of every MNIST tutorial.
    assert [5, 0, 4, 1, 9] == data.validation.labels[:5].tolist()
    assert [7, 2, 1, 0, 4] == data.test.labels[:5].tolist()
    # Counts of the digits 0–9, published: of the 60,000 training labels, and of the 10,000 test labels.
    counts = np.bincount(data.train.labels) + np.bincount(data.validation.labels)
    assert [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949] == counts.tolist()
    assert [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] == np.bincount(data.test.labels).tolist()
    # Mean and standard deviation of the 60,000 training images, as published: 0.1307 and 0.3081 of 255.
    everything = np.concatenate([data.validation.images, data.train.images])
    assert (0.1307, 0.3081) == (round(float(everything.mean()) / 255, 4), round(float(everything.std()) / 255, 4))
