import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import digests
from pipeline.data import idx, raw_data, transfer
from pipeline.data.datasets import CATALOGUE
from pipeline.data.raw_data import RawData
from pipeline.errors import DataError
from pipeline.settings import DatasetName, DataSettings
from pipeline.stages.download import download
from pipeline.stages.preprocess import preprocess
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
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass
class Desk:
    """A folder of a user's own files, a data_dir, and what the last download said."""

    folder: Path
    data_dir: Path
    notes: list[str] = field(default_factory=list)

    def download(self, source: str | None = None, dataset: DatasetName = "mnist") -> RawData:
        reporter = Remembering()
        self.notes = reporter.notes
        settings = DataSettings(dataset=dataset, source=source or str(self.folder), data_dir=self.data_dir)
        return download(settings, reporter)

    @property
    def skipped(self) -> bool:
        return self.notes[0].startswith("Skipped download: ")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(write(tmp_path / "mine", as_gz(small_set())), tmp_path / "data")


# --- a folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [small_set(), as_gz(small_set())], ids=["plain", "gz"])
def test_own_data_is_kept_plain_under_a_name_of_its_own(files: dict[str, bytes], tmp_path: Path) -> None:
    desk = Desk(write(tmp_path / "mine", files), tmp_path / "data")
    raw = desk.download()
    assert (CUSTOM, set_digest(small_set())) == (raw.name, raw.digest)
    assert desk.data_dir / "raw" / CUSTOM == raw.folder
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    assert sorted(f"raw/{CUSTOM}/{name}" for name in (*STEMS, "manifest.json")) == everything_in(desk.data_dir)
    assert f"Obtained {CUSTOM} from {desk.folder}, kept in {raw.folder}." == desk.notes[0]


def test_that_it_is_not_what_was_named_is_said_each_time(desk: Desk) -> None:
    for _ in range(2):
        desk.download(dataset="kmnist")
        assert f"What {desk.folder} holds is not kmnist: it goes by the name of {CUSTOM}." == desk.notes[1]


def test_known_content_from_a_folder_goes_by_its_name(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set()))
    assert "mnist" == desk.download().name
    assert "mnist" == desk.download(dataset="mnist", source="mirrors").name
    assert desk.skipped


def test_a_relative_folder_is_recorded_in_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder.parent)
    assert str(desk.folder) == desk.download("mine").provenance.origin
    monkeypatch.setenv("HOME", str(desk.folder.parent))
    assert str(desk.folder) == desk.download("~/mine").provenance.origin
    assert desk.skipped


# --- skipping -------------------------------------------------------------------------------------------------------


def test_what_is_unchanged_and_intact_is_skipped(desk: Desk) -> None:
    first = desk.download()
    second = desk.download()
    assert first == second
    assert f"Skipped download: {CUSTOM} in {first.folder} is unchanged and intact." == desk.notes[0]


def test_a_changed_input_is_not_skipped(desk: Desk) -> None:
    desk.download()
    changed = small_set(TEST_LABELS=labels([0, 0, 0, 1]))
    write(desk.folder, as_gz(changed))
    assert set_digest(changed) == desk.download().digest
    assert not desk.skipped
    write(desk.folder, as_gz(small_set()))
    assert set_digest(small_set()) == desk.download().digest


def test_changed_code_is_not_skipped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.download()
    monkeypatch.setattr(digests, "of_code", lambda *names: f"other code in {names}")
    desk.download()
    assert not desk.skipped
    desk.download()
    assert desk.skipped


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [_truncate, Path.unlink])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TEST_LABELS, "manifest.json"])
def test_a_damaged_output_is_obtained_again(desk: Desk, harm: Callable[[Path], None], name: str) -> None:
    raw = desk.download()
    harm(raw.folder / name)
    desk.download()
    assert not desk.skipped
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    desk.download()
    assert desk.skipped


def test_two_at_once_do_not_disturb_each_other(desk: Desk) -> None:
    desks = [Desk(desk.folder, desk.data_dir) for _ in range(2)]
    threads = [threading.Thread(target=each.download) for each in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    whats_done = [note.split()[0] for each in desks for note in each.notes]
    assert [1, 1] == [whats_done.count("Obtained"), whats_done.count("Skipped")]
    assert small_set() == {stem: (desk.data_dir / "raw" / CUSTOM / stem).read_bytes() for stem in STEMS}


# --- bad input leaves nothing behind --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (f"{TEST_IMAGES}.gz", zipped(images(4))[:-3], "expected a whole gzip file, received one that ends after"),
        (f"{TEST_IMAGES}.gz", zipped(images(4))[:-8] + bytes(8), "expected a whole gzip file, received a damaged one"),
        (f"{TEST_IMAGES}.gz", zipped(images(4)[:-1]), "received 39: the file is cut short"),
        (f"{TEST_IMAGES}.gz", b"<html></html>", "received an HTML or XML page"),
        (
            f"{TEST_IMAGES}.gz",
            zipped(labels([1, 1, 0, 0])),
            r"magic number 0x00000803 \(images\).*0x00000801 \(labels\)",
        ),
        (f"{TRAIN_LABELS}.gz", b"PK\x03\x04", "received 0x504b0304"),
    ],
)
def test_a_bad_file_is_named_and_nothing_kept(desk: Desk, name: str, content: bytes, complaint: str) -> None:
    write(desk.folder, {name: content})
    with pytest.raises(DataError, match=f"^{desk.folder}/{name}: .*{complaint}"):
        desk.download()
    assert [] == everything_in(desk.data_dir)


def test_a_folder_without_the_files_is_refused(desk: Desk) -> None:
    (desk.folder / f"{TEST_LABELS}.gz").unlink()
    with pytest.raises(
        DataError, match=f"^source: expected the four files .* in {desk.folder}, found {TEST_IMAGES}.gz"
    ):
        desk.download()
    assert not desk.data_dir.exists()


def test_an_interruption_leaves_what_was_there(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = desk.download()
    (raw.folder / TEST_LABELS).write_bytes(b"damaged, so that it is obtained again")
    before = {path: (desk.data_dir / path).read_bytes() for path in everything_in(desk.data_dir)}
    written: list[Path] = []
    write_bytes = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        desk.download()
    assert before == {path: (desk.data_dir / path).read_bytes() for path in everything_in(desk.data_dir)}
    assert [raw.folder] == [path for path in raw.folder.parent.iterdir() if path.is_dir()]


# --- mirrors, addresses, digits -------------------------------------------------------------------------------------


def test_a_published_set_comes_from_a_mirror_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(as_gz(small_set())) as server:
        monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), server.base))
        raw = desk.download("mirrors", "fashion-mnist")
        assert ("fashion-mnist", server.base) == (raw.name, raw.provenance.origin)
        assert [f"Obtained fashion-mnist from {server.base}, kept in {raw.folder}."] == desk.notes
        desk.download("mirrors", "fashion-mnist")
        assert desk.skipped
        _truncate(raw.folder / TEST_LABELS)
        desk.download("mirrors", "fashion-mnist")
        assert desk.notes[0].startswith(
            f"Obtaining fashion-mnist again. {raw.folder}/{TEST_LABELS}: expected the digest"
        )
        assert 8 == len(server.requests)


def test_intact_data_stays_in_use_when_new_code_would_fetch_it_again_and_no_mirror_gives_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(as_gz(small_set())) as closed:
        monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), closed.base))
        raw = desk.download("mirrors", "fashion-mnist")
    monkeypatch.setattr(digests, "of_code", lambda *names: f"other code in {names}")
    expected = f"No mirror gave fashion-mnist: what is in {raw.folder} is intact and stays in use."
    before = {path: (desk.data_dir / path).read_bytes() for path in everything_in(desk.data_dir)}

    with serving(as_gz(small_set(TRAIN_IMAGES=images(20, start=1)))) as other:
        for mirror in (closed.base, other.base):
            monkeypatch.setitem(CATALOGUE, "fashion-mnist", published(small_set(), mirror))
            assert raw == desk.download("mirrors", "fashion-mnist")
            assert expected == desk.notes[-1]
    assert before == {path: (desk.data_dir / path).read_bytes() for path in everything_in(desk.data_dir)}

    _truncate(raw.folder / TEST_LABELS)
    with pytest.raises(DataError, match="Two ways out"):
        desk.download("mirrors", "fashion-mnist")


def test_nothing_is_kept_when_no_mirror_has_the_content(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    others = small_set(TRAIN_IMAGES=images(20, start=1))
    with serving(as_gz(others)) as server:
        monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), server.base))
        with pytest.raises(DataError, match=r"expected the content digest sha256:.*Two ways out"):
            desk.download("mirrors")
    assert [] == everything_in(desk.data_dir)


@pytest.mark.parametrize(("user", "query"), [("user:secret@", ""), ("", "?token=secret"), ("secret:@", "?secret")])
def test_credentials_of_an_address_are_used_and_nowhere_kept_or_said(desk: Desk, user: str, query: str) -> None:
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
    settings = DataSettings(source=with_credentials(server.base), data_dir=desk.data_dir)
    assert server.base == raw.provenance.origin == preprocess(settings, Remembering()).source
    kept = [str(path.read_bytes()) for path in desk.data_dir.rglob("*") if path.is_file()]
    assert [] == [each for each in (*said, *desk.notes, str(caught.value), *kept) if "secret" in each]


def test_an_address_without_its_credentials_is_in_the_command_to_type(desk: Desk) -> None:
    settings = DataSettings(source="https://user:secret@host/data?secret", data_dir=desk.data_dir)
    with pytest.raises(DataError, match="First run `pipeline download --source https://host/data --data-dir"):
        raw_data.locate(settings)


def test_an_address_is_asked_once(desk: Desk) -> None:
    with serving(small_set()) as server:
        for _ in range(2):
            raw = desk.download(server.base.rstrip("/"))
            assert (CUSTOM, server.base) == (raw.name, raw.provenance.origin)
        assert 8 == len(server.requests)
    assert desk.skipped


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))


@pytest.mark.usefixtures("no_network")
def test_mnist_comes_with_the_package(desk: Desk) -> None:
    raw = desk.download("mirrors")
    assert ("mnist", "the mnist files of this package") == (raw.name, raw.provenance.origin)
    # As published: of the content of each file.
    assert [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ] == [sha256((raw.folder / stem).read_bytes()) for stem in STEMS]
    assert str(CATALOGUE["mnist"].folder) not in (raw.folder / "manifest.json").read_text()
    desk.download("mirrors")
    assert desk.skipped


def test_mirrors_serve_where_the_package_lacks_its_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(as_gz(small_set())) as server:
        absent = replace(published(small_set(), server.base), folder=desk.folder / "absent")
        monkeypatch.setitem(CATALOGUE, "mnist", absent)
        assert server.base == desk.download("mirrors").provenance.origin
        assert 1 == len(desk.notes)


@pytest.mark.parametrize(
    ("other", "said"),
    [(labels([1, 1, 0, 1]), "expected the content digest sha256:"), (labels([1])[:-1], "cut short")],
    ids=["other content", "cut short"],
)
def test_mirrors_serve_where_the_files_of_the_package_are_damaged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, other: bytes, said: str
) -> None:
    with serving(as_gz(small_set())) as server:
        write(desk.folder, {f"{TEST_LABELS}.gz": zipped(other)})
        monkeypatch.setitem(CATALOGUE, "mnist", replace(published(small_set(), server.base), folder=desk.folder))
        assert server.base == desk.download("mirrors").provenance.origin
    assert desk.notes[0].startswith(f"Asking the mirrors of mnist. {desk.folder}/{TEST_LABELS}.gz: ")
    assert said in desk.notes[0]


@pytest.mark.usefixtures("no_network")
def test_digits_need_no_network(desk: Desk) -> None:
    raw = desk.download("mirrors", "digits")
    assert ("digits", "scikit-learn") == (raw.name, raw.provenance.origin)
    header = (raw.folder / TRAIN_IMAGES).read_bytes()[:16]
    assert [0x0803, 1437, 8, 8] == np.frombuffer(header, ">u4").tolist()
    desk.download("mirrors", "digits")
    assert desk.skipped


def test_published_mnist_comes_from_a_folder_under_its_name(mnist_folder: Path, desk: Desk) -> None:
    raw = desk.download(str(mnist_folder))
    assert "mnist" == raw.name
    assert "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db" == raw.files[TRAIN_IMAGES]
    train_labels = idx.read((raw.folder / TRAIN_LABELS).read_bytes(), name=TRAIN_LABELS)
    # Counts of the digits 0–9 among the 60,000 training labels, as published with the data.
    expected = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert expected == np.bincount(train_labels).tolist()
    manifest = json.loads((raw.folder / "manifest.json").read_text())
    assert str(mnist_folder.resolve()) == manifest["provenances"][0]["source"]
    assert raw_data.locate(DataSettings(data_dir=desk.data_dir)) == raw
