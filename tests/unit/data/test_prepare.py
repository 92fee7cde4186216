"""The stages download and preprocess: what they make, what they skip, and what they leave behind when they fail."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import disk
from pipeline.data import idx, prepare, raw_data, sources
from pipeline.data.datasets import CATALOGUE
from pipeline.data.prepare import download, preprocess
from pipeline.data.splits import DataSet
from pipeline.data.stored import Stored
from pipeline.errors import DataError
from pipeline.settings import DatasetName, DataSettings
from tests.unit.data_fixtures import (
    STEMS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Remembering,
    as_gz,
    everything_in,
    images,
    labels,
    published,
    serving,
    set_digest,
    sha256,
    small_set,
    write,
    zipped,
)

CUSTOM = f"custom-{set_digest(small_set())[:8]}"


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Desk:
    """A folder of a user's own files, a data_dir, and what the last stage said."""

    folder: Path
    data_dir: Path
    notes: list[str] = field(default_factory=list)

    def settings(self, source: str | None = None, dataset: DatasetName = "mnist") -> DataSettings:
        return DataSettings(dataset=dataset, source=source or str(self.folder), data_dir=self.data_dir)

    def download(self, source: str | None = None, dataset: DatasetName = "mnist") -> Stored:
        reporter = Remembering()
        self.notes = reporter.notes
        return download(self.settings(source, dataset), reporter)

    def preprocess(self, source: str | None = None, dataset: DatasetName = "mnist") -> DataSet:
        reporter = Remembering()
        self.notes = reporter.notes
        return preprocess(self.settings(source, dataset), reporter)

    def run(self) -> None:
        self.download()
        self.preprocess()

    @property
    def skipped(self) -> bool:
        return self.notes[0].startswith("Skipped ")

    @property
    def content(self) -> dict[str, bytes]:
        return {path: (self.data_dir / path).read_bytes() for path in everything_in(self.data_dir)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(write(tmp_path / "mine", as_gz(small_set())), tmp_path / "data")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))


# --- what is made ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [small_set(), as_gz(small_set())], ids=["plain", "gz"])
def test_custom_data_is_kept_plain_and_split(files: dict[str, bytes], tmp_path: Path) -> None:
    desk = Desk(write(tmp_path / "mine", files), tmp_path / "data")
    raw = desk.download()
    assert (CUSTOM, set_digest(small_set()), desk.data_dir / "raw" / CUSTOM) == (raw.name, raw.digest, raw.folder)
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    assert [
        f"Obtained {CUSTOM} from {desk.folder}, kept in {raw.folder}.",
        f"The data from {desk.folder} is named {CUSTOM}, after its content.",
    ] == desk.notes
    data = desk.preprocess()
    assert [f"Preprocessed {CUSTOM} into {data.folder}: 18 train, 2 validation, 4 test images."] == desk.notes
    folder = f"processed/{CUSTOM}-{set_digest(small_set())[:8]}"
    assert desk.data_dir / folder == data.folder
    arrays = [f"{split}_{what}.npy" for split in ("test", "train", "validation") for what in ("images", "labels")]
    made = [f"{folder}/{name}" for name in ("examples.csv", "manifest.json", *arrays)]
    assert [*made, *sorted(f"raw/{CUSTOM}/{name}" for name in (*STEMS, "manifest.json"))] == everything_in(
        desk.data_dir
    )


def test_known_content_from_a_folder_has_its_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    assert "mnist" == desk.download().name
    assert "mnist" == desk.download(dataset="mnist", source="mirrors").name
    assert desk.skipped


def test_a_relative_folder_is_recorded_in_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder.parent)
    monkeypatch.setenv("HOME", str(desk.folder.parent))
    for source in ("mine", "~/mine"):
        assert str(desk.folder) == desk.download(source).origin
    assert desk.skipped


@pytest.mark.usefixtures("no_network")
def test_published_mnist_comes_with_the_package_and_is_split_as_in_the_tutorial(desk: Desk) -> None:
    raw = desk.download("mirrors")
    assert ("mnist", "the mnist files of this package") == (raw.name, raw.origin)
    # As published: of the content of each file.
    assert [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ] == [sha256((raw.folder / stem).read_bytes()) for stem in STEMS]
    assert str(CATALOGUE["mnist"].folder) not in (raw.folder / "manifest.json").read_text()
    data = desk.preprocess("mirrors")
    assert 1 == len(desk.notes)
    shapes = [(55_000, 28, 28), (5_000, 28, 28), (10_000, 28, 28)]
    assert shapes == [split.examples.shape for split in (data.train, data.validation, data.test)]
    # The training labels begin 5 0 4 1 9, the test labels 7 2 1 0 4: the first figures of every MNIST tutorial.
    assert [5, 0, 4, 1, 9] == data.validation.labels[:5].tolist()
    assert [7, 2, 1, 0, 4] == data.test.labels[:5].tolist()
    # Counts of the digits 0–9, published: of the 60,000 training labels, and of the 10,000 test labels.
    counts = np.bincount(data.train.labels) + np.bincount(data.validation.labels)
    assert [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949] == counts.tolist()
    assert [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] == np.bincount(data.test.labels).tolist()
    # Mean and standard deviation of the 60,000 training images, as published: 0.1307 and 0.3081 of 255.
    everything = np.concatenate([data.validation.examples, data.train.examples])
    assert (0.1307, 0.3081) == (round(float(everything.mean()) / 255, 4), round(float(everything.std()) / 255, 4))


@pytest.mark.usefixtures("no_network")
def test_digits_need_no_network_and_are_split_by_class(desk: Desk) -> None:
    raw = desk.download("mirrors", "digits")
    assert ("digits", "scikit-learn") == (raw.name, raw.origin)
    data = desk.preprocess("mirrors", "digits")
    assert (1293, 144, 360) == (len(data.train.labels), len(data.validation.labels), len(data.test.labels))
    assert ("digits", "scikit-learn", (8, 8, 10)) == (data.name, data.source, (*data.kind.shape, data.classes))
    assert [True] * 10 == [12 <= count <= 16 for count in np.bincount(data.validation.labels)]


# --- what is skipped, and what is not -------------------------------------------------------------------------------


def test_unchanged_data_is_skipped_and_each_file_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = prepare.prepared(desk.settings(), Remembering())
    hashed: list[Path] = []
    of_file = disk.file_digest

    def remembered(path: Path) -> str:
        hashed.append(path)
        return of_file(path)

    monkeypatch.setattr(disk, "file_digest", remembered)
    reporter = Remembering()
    second, seconds = prepare.prepared(desk.settings(), reporter)
    raw = desk.data_dir / "raw" / CUSTOM
    assert (
        f"Skipped download: {CUSTOM} in {raw} is unchanged and intact.",
        f"Skipped preprocess: {CUSTOM} in {first.folder} is unchanged and intact.",
    ) == (reporter.notes[0], reporter.notes[2])
    kept = [path for path in hashed if path.is_relative_to(desk.data_dir)]
    assert (11, 11) == (len(kept), len(set(kept)))
    assert (first.folder, ["seconds_download", "seconds_preprocess"]) == (second.folder, list(seconds))


def test_a_test_part_that_is_held_out_is_reported_each_time(desk: Desk) -> None:
    table = desk.folder / "gestures.csv"
    table.write_text("id,label,x\n" + "".join(f"{number},{number % 2},{number}\n" for number in range(40)))
    note = f"{table} has no test part: a fifth of the examples (8 of 40) is held out as the test part"
    for position in (0, 1):
        desk.download(str(table))
        assert position == desk.skipped
        assert [True] == [each.startswith(note) for each in desk.notes if "Obtained" not in each][position:]


def test_changed_inputs_are_not_skipped(desk: Desk) -> None:
    desk.run()
    for files in (small_set(TEST_LABELS=labels([0, 0, 0, 1])), small_set()):
        write(desk.folder, as_gz(files))
        assert set_digest(files) == desk.download().digest
        assert not desk.skipped
        assert list(files[TEST_LABELS][8:]) == desk.preprocess().test.labels.tolist()


def test_changed_code_is_not_skipped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run()
    monkeypatch.setattr(disk, "code_digest", lambda *names: f"other code in {names}")
    for skipped in (False, True):
        for stage in (desk.download, desk.preprocess):
            stage()
            assert skipped == desk.skipped


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [_truncate, Path.unlink])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, "train_images.npy", "examples.csv", "manifest.json"])
def test_damaged_outputs_are_made_again(desk: Desk, harm: Callable[[Path], None], name: str) -> None:
    desk.run()
    before = {path: content for path, content in desk.content.items() if "manifest" not in path}
    for path in list(desk.data_dir.rglob(name)):
        harm(path)
    for stage in (desk.download, desk.preprocess):
        stage()
        stage()
        assert desk.skipped
    assert before == {path: content for path, content in desk.content.items() if "manifest" not in path}


def test_data_has_the_origin_of_the_source_that_was_named(desk: Desk, tmp_path: Path) -> None:
    there = write(tmp_path / "there", small_set())
    for source in (desk.folder, there, desk.folder):
        assert str(source) == prepare.prepared(desk.settings(str(source)), Remembering())[0].source


def test_only_code_that_decides_the_kept_files_is_in_their_digest() -> None:
    common = {"data/contents.py", "data/datasets.py", "data/idx.py", "data/raw_data.py", "data/stored.py"}
    of_the_package = {"disk.py", "errors.py"}
    readers = {"data/formats.py", "data/readers.py", "data/step_tables.py"}
    assert common | of_the_package | readers == set(disk.imported_modules(*raw_data.CODE))
    processed = {"data/processed.py", "data/splits.py", "settings.py", "cells.py", "machine.py"}
    processed |= {f"kinds/{name}.py" for name in ("augmentation", "images", "kind", "known", "sequences")}
    assert common | of_the_package | processed == set(disk.imported_modules("data/processed.py"))


# --- mirrors and addresses ------------------------------------------------------------------------------------------


def test_a_published_set_is_fetched_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(as_gz(small_set())) as server:
        monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), server.base))
        raw = desk.download("mirrors", "fashion-mnist")
        assert [f"Obtained fashion-mnist from {server.base}, kept in {raw.folder}."] == desk.notes
        desk.download("mirrors", "fashion-mnist")
        assert desk.skipped
        assert 4 == len(server.requests)


def test_intact_data_stays_in_use_when_no_mirror_gives_it_any_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(as_gz(small_set())) as closed:
        monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), closed.base))
        raw = desk.download("mirrors", "fashion-mnist")
    monkeypatch.setattr(disk, "code_digest", lambda *names: f"other code in {names}")
    expected = f"No mirror provided fashion-mnist: the intact copy in {raw.folder} stays in use."
    before = desk.content
    with serving(as_gz(small_set(TRAIN_IMAGES=images(20, start=1)))) as other:
        for mirror in (closed.base, other.base):
            monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), mirror))
            assert raw == desk.download("mirrors", "fashion-mnist")
            assert expected == desk.notes[-1]
    assert before == desk.content
    _truncate(raw.folder / TEST_LABELS)
    with pytest.raises(DataError, match="Try again later"):
        desk.download("mirrors", "fashion-mnist")


@pytest.mark.parametrize(("user", "query"), [("user:secret@", ""), ("", "?token=secret"), ("secret:@", "?secret")])
def test_an_address_is_asked_once_and_its_credentials_are_neither_kept_nor_shown(
    desk: Desk, user: str, query: str
) -> None:
    def with_credentials(base: str) -> str:
        return base.replace("http://", f"http://{user}").rstrip("/") + query

    with serving(small_set()) as server, serving({}) as empty:
        raw = desk.download(with_credentials(server.base))
        said = desk.notes
        assert raw == desk.download(with_credentials(server.base))
        assert desk.skipped
        with pytest.raises(DataError, match=f"under {empty.base[:-1]}, received neither") as caught:
            desk.download(with_credentials(empty.base))
    assert 8 == len(server.requests)
    assert {query.removeprefix("?")} == set(server.queries)
    assert {bool(user)} == {authorization is not None for authorization in server.authorizations}
    assert server.base == raw.origin == desk.preprocess(with_credentials(server.base)).source
    shown = [*said, *desk.notes, str(caught.value), *map(str, desk.content.values())]
    assert [] == [each for each in shown if "secret" in each]


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (TEST_IMAGES, zipped(images(4))[:-3], "expected a whole gzip file"),
        (TEST_IMAGES, b"<html></html>", "received an HTML or XML page"),
        (TEST_IMAGES, zipped(labels([1, 1, 0, 0])), r"magic number 0x00000803 \(images\).*0x00000801"),
        (TRAIN_LABELS, b"PK\x03\x04", "received 0x504b0304"),
    ],
)
def test_a_bad_file_is_named_and_nothing_kept(desk: Desk, name: str, content: bytes, complaint: str) -> None:
    write(desk.folder, {f"{name}.gz": content})
    with pytest.raises(DataError, match=f"^{desk.folder}/{name}.gz: .*{complaint}"):
        desk.download()
    assert [] == everything_in(desk.data_dir)


def test_a_folder_without_the_files_makes_no_data_dir(desk: Desk) -> None:
    (desk.folder / f"{TEST_LABELS}.gz").unlink()
    with pytest.raises(DataError, match=f"^source: expected the four files .* in {desk.folder}, found {TEST_IMAGES}"):
        desk.download()
    assert not desk.data_dir.exists()


def test_a_raw_file_that_changed_is_not_processed(desk: Desk) -> None:
    desk.run()
    raw = desk.data_dir / "raw" / CUSTOM / TEST_LABELS
    raw.write_bytes(idx.encode(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match=f"^{raw}: expected the digest .* Run `pipeline download` again"):
        desk.preprocess()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full, as Linux has one")
@pytest.mark.parametrize("full", ["train_images.npy", "examples.csv"])
def test_a_full_disk_is_named_as_the_reason_and_nothing_left(
    desk: Desk, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.download()
    make = Path.mkdir

    def with_a_full_file(path: Path, *given: Any, **more: Any) -> None:
        make(path, *given, **more)
        if path.name.startswith(".unfinished-"):
            (path / full).symlink_to("/dev/full")

    monkeypatch.setattr(Path, "mkdir", with_a_full_file)
    with pytest.raises(
        DataError, match=r"^data_dir: .* received .*/processed: No space left on device\. Free some space"
    ):
        desk.preprocess()
    assert [] == everything_in(desk.data_dir / "processed")
