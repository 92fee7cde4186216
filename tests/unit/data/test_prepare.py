"""The stages download and preprocess: their results, skipped steps, and the files that remain after a failure."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock, Timeout

from pipeline import disk
from pipeline.data import stored
from pipeline.data.datasets import CATALOGUE
from pipeline.data.prepare import download, prepared, preprocess
from pipeline.data.splits import DataSet
from pipeline.data.stored import Stored
from pipeline.errors import DataError
from pipeline.settings import DataSettings
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
)

DIGEST = set_digest(small_set())
CUSTOM = f"custom-{DIGEST[:8]}"


@dataclass
class Desk:
    """A folder with a user's files, a data_dir, and the output of the last stage."""

    folder: Path
    data_dir: Path
    notes: list[str] = field(default_factory=list)

    def settings(self, source: str | None = None, dataset: str = "mnist") -> DataSettings:
        return DataSettings(dataset=dataset, source=source or str(self.folder), data_dir=self.data_dir)

    def reporter(self) -> Remembering:
        reporter = Remembering()
        self.notes = reporter.notes
        return reporter

    def download(self, source: str | None = None, dataset: str = "mnist") -> Stored:
        return download(self.settings(source, dataset), self.reporter())

    def preprocess(self, source: str | None = None, dataset: str = "mnist") -> DataSet:
        return preprocess(self.settings(source, dataset), self.reporter())

    def run(self, changes: Mapping[str, bytes] | None = None) -> DataSet:
        write(self.folder, as_gz(small_set(changes)))
        self.download()
        return self.preprocess()

    @property
    def skipped(self) -> bool:
        return self.notes[0].startswith("Skipped ")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Desk(write(tmp_path / "mine", as_gz(small_set())), tmp_path / "data")


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(disk, "code_digest", lambda *names: f"other code in {names}")


# --- what is made ---------------------------------------------------------------------------------------------------


def test_custom_data_is_kept_plain_and_split(desk: Desk) -> None:
    raw = desk.download()
    assert (CUSTOM, DIGEST, desk.data_dir / "raw" / CUSTOM) == (raw.name, raw.digest, raw.folder)
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    assert [f"Obtained {CUSTOM} from {desk.folder}; saved in {raw.folder}."] == desk.notes
    data = desk.preprocess()
    assert [f"Preprocessed {CUSTOM} into {data.folder}: 18 train, 2 validation, 4 test images."] == desk.notes
    assert (CUSTOM, str(desk.folder), DIGEST, ("0", "1")) == (data.name, data.source, data.digest, data.class_names)
    folder = f"processed/{CUSTOM}-{DIGEST[:8]}"
    assert desk.data_dir / folder == data.folder
    arrays = [f"{split}_{what}.npy" for split in ("test", "train", "validation") for what in ("images", "labels")]
    made = [f"{folder}/{name}" for name in ("examples.csv", "manifest.json", *arrays)]
    kept = sorted(f"raw/{CUSTOM}/{name}" for name in (*STEMS, "manifest.json"))
    assert [*made, *kept] == [*everything_in(desk.data_dir)]


def test_known_content_has_its_name_class_names_and_convention(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    data = desk.run()
    assert ("mnist", ("no", "yes")) == (data.name, data.class_names)
    assert "mnist" == desk.download("mirrors").name
    assert desk.skipped
    assert small_set()[TRAIN_IMAGES][16:] == data.validation.examples.tobytes() + data.train.examples.tobytes()
    assert small_set()[TEST_IMAGES][16:] == data.test.examples.tobytes()
    assert isinstance(data.train.examples, np.memmap)
    assert ("uint8", False) == (data.train.labels.dtype.name, data.train.examples.flags.writeable)
    splits = ["train"] * 15 + ["validation"] * 5 + ["test"] * 4
    index, label = [*range(5, 20), *range(5), *range(4)], [*([1, 0] * 7), 1, 0, 1, 0, 1, 0, 1, 1, 0, 0]
    expected = pd.DataFrame({"split": splits, "index": index, "label": label})
    pd.testing.assert_frame_equal(expected, pd.read_csv(data.folder / "examples.csv"))


def test_mnist_and_digits_need_no_network_and_mnist_is_split_as_in_the_tutorial(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    digits, _ = prepared(desk.settings("mirrors", "digits"), desk.reporter())
    counts = [len(split.labels) for split in (digits.train, digits.validation, digits.test)]
    assert ("scikit-learn", [1293, 144, 360]) == (digits.source, counts)
    raw = desk.download("mirrors")
    assert ("mnist", "the pipeline package") == (raw.name, raw.origin)
    # Published digests of the content of each file, which include its counts and means.
    assert [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ] == [sha256((raw.folder / stem).read_bytes()) for stem in STEMS]
    assert str(CATALOGUE["mnist"].folder) not in (raw.folder / "manifest.json").read_text()
    data = desk.preprocess("mirrors")
    assert [55_000, 5_000, 10_000] == [len(split.examples) for split in (data.train, data.validation, data.test)]
    # The training labels begin 5 0 4 1 9, the test labels 7 2 1 0 4: the first figures of every MNIST tutorial.
    assert ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4]) == (data.validation.labels[:5].tolist(), data.test.labels[:5].tolist())


def test_sequences_keep_their_ids_and_a_held_out_test_part_is_reported_each_time(desk: Desk) -> None:
    table = desk.folder / "gestures.csv"
    table.write_text("id,label,x\n" + "".join(f"g{number},{number % 2},{number}\n" for number in range(40)))
    note = f"{table} has no test part: a fifth of the examples (8 of 40) is held out as the test part"
    for skipped in (False, True):
        assert desk.download(str(table)).name.startswith("gestures-")
        assert (skipped, True) == (desk.skipped, desk.notes[1].startswith(note))
    data = desk.preprocess(str(table))
    for split in (data.train, data.validation, data.test):
        assert split.ids is not None
        assert [f"g{value:.0f}" for value in split.examples.ravel()] == split.ids.tolist()
    assert {"id", "split", "index", "label"} == {*pd.read_csv(data.folder / "examples.csv")}


def test_classes_that_are_too_small_are_reported(desk: Desk) -> None:
    for _ in range(2):
        desk.run({TRAIN_LABELS: labels([0, 1] * 9 + [2, 3]), TEST_LABELS: labels([0, 2, 5, 6])})
        assert [
            "these classes have no images in the train split: 5, 6.",
            "these classes have no images in the validation split: 2, 3, 5, 6.",
            "these classes have no images in the test split: 1, 3.",
        ] == [note.partition(": ")[2] for note in desk.notes[1:]]


# --- what is skipped, and what is not -------------------------------------------------------------------------------


def test_unchanged_data_is_skipped_and_each_file_read_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = prepared(desk.settings(), Remembering())
    of_file = Mock(wraps=disk.file_digest)
    monkeypatch.setattr(disk, "file_digest", of_file)
    second, seconds = prepared(desk.settings(), desk.reporter())
    assert [
        f"Skipped download: {CUSTOM} in {desk.data_dir}/raw/{CUSTOM} is unchanged and intact.",
        f"Skipped preprocess: {CUSTOM} in {first.folder} is unchanged and intact.",
    ] == desk.notes
    kept = [call.args[0] for call in of_file.call_args_list if call.args[0].is_relative_to(desk.data_dir)]
    assert (11, 11) == (len(kept), len(set(kept)))
    assert (first.folder, ["seconds_download", "seconds_preprocess"]) == (second.folder, list(seconds))


def test_changed_files_sources_and_code_are_not_skipped(
    desk: Desk, tmp_path: Path, other_code: Callable[[], None]
) -> None:
    for values in ([0, 0, 0, 1], [1, 1, 0, 0]):
        assert values == desk.run({TEST_LABELS: labels(values)}).test.labels.tolist()
    there = write(tmp_path / "there", small_set())
    for source in (there, desk.folder):
        assert str(source) == prepared(desk.settings(str(source)), Remembering())[0].source
    other_code()
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
    before = {path: content for path, content in everything_in(desk.data_dir).items() if "manifest" not in path}
    for path in list(desk.data_dir.rglob(name)):
        harm(path)
    for stage in (desk.download, desk.preprocess):
        stage()
        stage()
        assert desk.skipped
    assert before.items() <= everything_in(desk.data_dir).items()


# --- mirrors and addresses ------------------------------------------------------------------------------------------


def test_a_published_set_is_fetched_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, other_code: Callable[[], None]
) -> None:
    with serving(as_gz(small_set())) as server:
        monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), server.base))
        raw = desk.download("mirrors", "fashion-mnist")
        obtained = f"Obtained fashion-mnist from {server.base}; saved in {raw.folder}."
        assert [f"Downloading {server.base}", obtained] == desk.notes
        other_code()  # published data does not depend on the code
        assert raw == desk.download("mirrors", "fashion-mnist")
        assert (True, 4) == (desk.skipped, len(server.requests))


@pytest.mark.parametrize(
    ("user", "query", "authorization"),
    [
        ("user:secret@", "", f"Basic {b64encode(b'user:secret').decode()}"),
        ("", "?token=secret", None),
        ("secret:@", "?secret", f"Basic {b64encode(b'secret:').decode()}"),
    ],
)
def test_an_address_is_fetched_once_and_its_credentials_stay_secret(
    desk: Desk, user: str, query: str, authorization: str | None
) -> None:
    with serving(small_set()) as server, serving({}) as empty:
        there, nowhere = (
            each.base.replace("http://", f"http://{user}").rstrip("/") + query for each in (server, empty)
        )
        raw = desk.download(there)
        said = desk.notes
        assert raw == desk.download(there)
        assert desk.skipped
        with pytest.raises(DataError, match=f"{empty.base[:-1]}: must have .*HTTP 404") as caught:
            desk.download(nowhere)
    assert 8 == len(server.requests)
    assert {(query.removeprefix("?"), authorization)} == {*server.credentials}
    assert server.base == raw.origin == desk.preprocess(there).source
    shown = [*said, *desk.notes, str(caught.value), *map(str, everything_in(desk.data_dir).values())]
    assert [] == [each for each in shown if "secret" in each]


# --- found again ----------------------------------------------------------------------------------------------------


def test_data_is_found_by_the_settings_and_by_its_digest_or_the_error_names_the_command_to_run(desk: Desk) -> None:
    settings = DataSettings(source="https://user:secret@host/data?secret", data_dir=Path("my data"))
    with pytest.raises(DataError) as caught:
        stored.find(settings)
    command = "`pipeline download --source https://host/data --data-dir 'my data'`"
    expected = f"must have data from https://host/data/#2bb80d53 in my data/raw. First run {command}."
    assert f"data_dir: {expected}" == str(caught.value)
    desk.download()
    with pytest.raises(DataError, match=f"First run `pipeline preprocess --source {desk.folder} --data-dir"):
        stored.find(desk.settings())
    data = desk.preprocess()
    assert data.folder == stored.find(desk.settings()).folder
    assert data.folder == stored.find_by_digest(desk.data_dir, CUSTOM, DIGEST).folder
    with pytest.raises(DataError, match=f"^data_dir: must have the processed data set {CUSTOM} .digest {DIGEST[:8]}0"):
        stored.find_by_digest(desk.data_dir, CUSTOM, DIGEST[:8] + "0" * 56)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        *((name, "0" * 64) for name in ("../escaped", "/escaped", "", "mnist/../..")),
        *(("mnist", digest) for digest in ("../escaped", "0" * 63, "", "0" * 65, "A" * 64)),
    ],
)
def test_an_invalid_name_or_digest_is_refused(tmp_path: Path, name: str, digest: str) -> None:
    with pytest.raises(DataError, match=f"^dataset: must be a name of .* got '{name}' and '{digest}'"):
        stored.find_by_digest(tmp_path, name, digest)


def test_data_of_other_code_is_superseded_if_its_raw_data_is_there(desk: Desk, other_code: Callable[[], None]) -> None:
    folder, raw = desk.run().folder, desk.data_dir / "raw" / CUSTOM
    assert [] == stored.superseded(desk.data_dir)
    other_code()
    assert [folder] == stored.superseded(desk.data_dir)
    disk.remove_folder(raw)
    assert [] == stored.superseded(desk.data_dir)


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({TEST_IMAGES: b"<html></html>"}, r"{folder}/t10k-images-idx3-ubyte: must begin with .* begins with b'<htm'"),
        ({TRAIN_LABELS: labels([0, 1] * 9)}, f"{TRAIN_IMAGES}: needs a label for each of 20 examples; got 18"),
        ({TRAIN_IMAGES: images(1_293)}, f"{TRAIN_IMAGES}: needs a label for each of 1,293 examples; got 20"),
        ({TEST_LABELS: labels([0] * 5)}, f"{TEST_IMAGES}: needs a label for each of 4 examples; got 5"),
        ({TEST_IMAGES: images(4, 3, 2)}, f"{TEST_IMAGES}: must have 2 × 3 pixels like {TRAIN_IMAGES}; got 3 × 2"),
        ({TEST_IMAGES: images(0), TEST_LABELS: labels([])}, f"{TEST_IMAGES}: needs at least one example"),
        ({TRAIN_IMAGES: images(20, 0, 3)}, f"{TRAIN_IMAGES}: needs at least one example, of at least one pixel"),
        ({TRAIN_LABELS: labels([3] * 20)}, f"{TRAIN_IMAGES}: must have at least 2 classes; got only the label '3'"),
    ],
)
def test_files_that_cannot_be_trained_on_are_refused_and_nothing_is_kept(
    desk: Desk, tmp_path: Path, changes: dict[str, bytes], complaint: str
) -> None:
    folder = write(tmp_path / "wrong", small_set(changes))
    with pytest.raises(DataError, match=f"^{complaint.format(folder=folder)}"):
        desk.download(str(folder))
    assert {} == everything_in(desk.data_dir)


@pytest.mark.parametrize("harm", [_truncate, Path.unlink])
def test_a_changed_or_missing_file_is_named_with_the_command_to_run(desk: Desk, harm: Callable[[Path], None]) -> None:
    labels_of, raw = desk.run().folder / "test_labels.npy", desk.data_dir / "raw" / CUSTOM / TEST_LABELS
    harm(labels_of)
    with pytest.raises(DataError, match=f"^{labels_of}: must exist and have the digest .* Run `pipeline preprocess` a"):
        stored.find(desk.settings())
    harm(raw)
    with pytest.raises(DataError, match=f"^{raw}: must exist and have the digest .* Run `pipeline download` again"):
        desk.preprocess()


def test_a_folder_is_locked_against_other_processes(tmp_path: Path) -> None:
    with stored.locked(tmp_path), pytest.raises(Timeout):
        FileLock(tmp_path / ".lock").acquire(timeout=0)


@pytest.mark.parametrize(
    ("root", "error", "reason"),
    [("file/raw", None, "Not a directory"), ("", OSError("9 requested and 4 written"), r"9 requested and 4 written\.")],
)
def test_a_data_dir_that_cannot_be_written_is_refused(
    tmp_path: Path, root: str, error: OSError | None, reason: str
) -> None:
    write(tmp_path, {"file": b""})
    with (
        pytest.raises(DataError, match=f"^data_dir: must be a folder that can be written to; {tmp_path}.*: {reason}"),
        stored.locked(tmp_path / root),
    ):
        raise error or AssertionError
