import dataclasses
import hashlib
import re
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from sklearn.datasets import load_digits

from pipeline import datasets, folders, idx, raw_data, sources
from pipeline.datasets import CATALOGUE, Published, RawFile
from pipeline.errors import DataError, UsageError
from pipeline.raw_data import RawData
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import (
    STEMS,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Answer,
    Remembering,
    as_gz,
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

HTML = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def opened(files: Mapping[str, bytes]) -> dict[str, RawFile]:
    """The four files by stem, from their contents by name."""
    return {name.removesuffix(".gz"): datasets.open_file(name.removesuffix(".gz"), name, files[name]) for name in files}


# --- the catalogue, and how content is recognised -------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_complete(name: str) -> None:
    entry = CATALOGUE[name]
    assert [True] * 4 == [bool(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", d)) for d in entry.digests]
    assert 10 == len(set(entry.class_names))
    assert all(re.fullmatch("https?://.*/", mirror) for mirror in entry.mirrors)
    assert bool(entry.mirrors) == (name != "digits")


def test_published_mnist_is_recognised(mnist_folder: Path) -> None:
    found = sources.read_folder(mnist_folder)
    assert "mnist" == datasets.recognise({stem: datasets.open_file(stem, *found[stem]) for stem in STEMS})


def test_one_other_label_makes_it_another_data_set() -> None:
    first, second = opened(small_set()), opened(small_set(TEST_LABELS=labels([1, 1, 0, 1])))
    assert f"custom-{set_digest(small_set())[:8]}" == datasets.recognise(first)
    assert datasets.recognise(first) != datasets.recognise(second)


def test_content_is_the_same_compressed_or_not() -> None:
    assert datasets.recognise(opened(small_set())) == datasets.recognise(opened(as_gz(small_set())))


def test_where_only_the_md5_of_the_gz_is_published_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    files = as_gz(small_set())
    md5s = tuple(f"md5:{hashlib.md5(files[f'{stem}.gz'], usedforsecurity=False).hexdigest()}" for stem in STEMS)
    monkeypatch.setitem(CATALOGUE, "kmnist", Published(digests=md5s, class_names=("no", "yes")))
    assert "kmnist" == datasets.recognise(opened(files))
    assert f"custom-{set_digest(small_set())[:8]}" == datasets.recognise(opened(small_set()))


# --- digits ---------------------------------------------------------------------------------------------------------


def test_digits_are_all_of_scikit_learns_scaled_to_255() -> None:
    files = sources.make_digits()
    train_images, train_labels, test_images, test_labels = (idx.read(files[stem].content, name=stem) for stem in STEMS)
    bunch = load_digits()
    expected = sorted((*row, label) for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    pixels = np.concatenate([train_images, test_images]).reshape(-1, 64) * (16 / 255)
    found = np.concatenate([train_labels, test_labels]).tolist()
    actual = sorted((*row, label) for row, label in zip(pixels.round().tolist(), found, strict=True))
    assert expected == actual
    assert 255 == train_images.max()
    assert (1437, 360) == (len(train_labels), len(test_labels))


def test_a_fifth_of_each_digit_is_the_test_split_of_digits() -> None:
    test_labels = idx.read(sources.make_digits()[TEST_LABELS].content, name=TEST_LABELS)
    expected = np.bincount(load_digits().target) / 5
    assert np.abs(expected - np.bincount(test_labels)).max() < 1


def test_digits_are_the_same_everywhere() -> None:
    assert "digits" == datasets.recognise(sources.make_digits())


# --- sources --------------------------------------------------------------------------------------------------------


def test_a_source_has_one_form_wherever_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "mirrors" == sources.key_of("mirrors")
    assert str(tmp_path / "mine") == sources.key_of("mine") == sources.key_of("~/mine") == sources.key_of("./mine/")
    assert str(tmp_path / "~no-such-user" / "mine") == sources.key_of("~no-such-user/mine")
    assert "https://a.b/c/" == sources.key_of("https://a.b/c") == sources.key_of("https://a.b/c/")


def test_an_address_that_is_not_of_the_web_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^source: expected .* received 's3://bucket/mnist'"):
        sources.key_of("s3://bucket/mnist")


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": b"", TRAIN_IMAGES: images(2)})
    with pytest.raises(DataError, match=f"^source: expected the four files {TRAIN_IMAGES}, .* in {tmp_path}, found"):
        sources.read_folder(tmp_path)
    with pytest.raises(DataError, match=r"found train-images-idx3-ubyte, train\.csv"):
        sources.read_folder(tmp_path)
    with pytest.raises(DataError, match="found an empty folder"):
        sources.read_folder(write(tmp_path / "empty", {}))
    with pytest.raises(DataError, match="none does not exist; expected"):
        sources.read_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"train\.csv is a file; expected"):
        sources.read_folder(tmp_path / "train.csv")


def test_a_full_folder_is_not_listed_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": b"" for number in range(30)})
    with pytest.raises(DataError, match=r"14\.png, 15\.png and 22 more"):
        sources.read_folder(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=f"^source: expected files to read in {tmp_path}, received: Permission denied"):
        sources.read_folder(write(tmp_path, small_set()))


def test_gz_goes_before_plain(tmp_path: Path) -> None:
    write(tmp_path, small_set() | as_gz(small_set()))
    assert [f"{stem}.gz" for stem in STEMS] == [name for name, _ in sources.read_folder(tmp_path).values()]


def unused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The small set, published under the name of mnist, for now without mirrors."""
    files = small_set()
    monkeypatch.setitem(CATALOGUE, "mnist", published(files))
    return files


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    monkeypatch.setitem(CATALOGUE, "mnist", dataclasses.replace(CATALOGUE["mnist"], mirrors=mirrors))


def contents(files: Mapping[str, RawFile]) -> dict[str, bytes]:
    return {stem: file.content for stem, file in files.items()}


def test_the_first_mirror_that_works_is_enough(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Remembering()
    with serving(as_gz(small)) as server:
        use_mirrors(monkeypatch, server.base, "http://never.asked/")
        files, origin = sources.fetch_mirrors("mnist", reporter)
    assert small == contents(files)
    assert server.base == origin
    assert [f"{stem}.gz" for stem in STEMS] == server.requests
    size = len(zipped(small[TRAIN_IMAGES]))
    assert (f"{TRAIN_IMAGES}.gz", size, size) in reporter.transfers


WHOLE = zipped(small_set()[TRAIN_LABELS])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), "HTTP 404 Not Found"),
        (Answer(status=503), "HTTP 503 Service Unavailable"),
        (HTML, "received an HTML or XML page that begins '<!DOCTYPE html>"),
        (Answer(WHOLE[:20], length=len(WHOLE)), "the transfer broke off before the end"),
        (Answer(WHOLE[:20]), "expected a whole gzip file, received one that ends after 20 bytes"),
        (
            zipped(labels([1, 0] * 10)),
            f"expected the content digest sha256:{sha256(labels([0, 1] * 10))}, received sha",
        ),
        (zipped(images(20)), "expected the magic number 0x00000801"),
    ],
)
def test_where_a_mirror_fails_the_next_one_goes_on(
    answer: bytes | Answer, reason: str, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Remembering()
    with serving(as_gz(small) | {f"{TRAIN_LABELS}.gz": answer}) as bad, serving(as_gz(small)) as good:
        use_mirrors(monkeypatch, bad.base, good.base)
        files, origin = sources.fetch_mirrors("mnist", reporter)
    assert small == contents(files)
    assert f"{bad.base} and {good.base}" == origin
    assert [f"{stem}.gz" for stem in STEMS[1:]] == good.requests
    (note,) = reporter.notes
    assert note.startswith(f"Mirror failed: {bad.base}{TRAIN_LABELS}.gz: ")
    assert reason in note


def test_when_no_mirror_answers_the_error_names_each_and_the_ways_out(
    small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = unused_address()
    with serving({}) as empty:
        use_mirrors(monkeypatch, closed, empty.base)
        with pytest.raises(DataError) as caught:
            sources.fetch_mirrors("mnist", Remembering())
    expected = (
        f"dataset: expected mnist from one of its mirrors, received it from none. "
        f"{closed}{TRAIN_IMAGES}.gz: Connection refused. {empty.base}{TRAIN_IMAGES}.gz: HTTP 404 Not Found. "
        "Two ways out: `--source FOLDER-OR-URL` takes the four IDX files from elsewhere, and `--dataset digits` "
        "needs no network."
    )
    assert expected == str(caught.value)


def test_a_failure_that_may_pass_is_tried_again_and_a_refusal_is_not() -> None:
    with serving({"a": [Answer(status=503), Answer(b"x", length=9), b"content"]}) as server:
        assert b"content" == sources.fetch(f"{server.base}a", Remembering())
        with pytest.raises(DataError, match="HTTP 404"):
            sources.fetch(f"{server.base}b", Remembering())
    assert ["a", "a", "a", "b"] == server.requests


def test_a_mirror_that_keeps_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TIMEOUT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(sources.NoAnswerError, match=r"no answer within 0\.05 s"),
    ):
        sources.fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/a", Remembering())


def test_what_arrives_of_an_unknown_length_is_still_told() -> None:
    reporter = Remembering()
    with serving({"a": Answer(bytes(100_000), length=None)}) as server:
        assert bytes(100_000) == sources.fetch(f"{server.base}a", reporter)
    assert {("a", None)} == {(name, total) for name, _, total in reporter.transfers}
    assert sorted(reporter.transfers) == reporter.transfers


def test_a_base_address_may_hold_gz_or_plain_files(small: dict[str, bytes]) -> None:
    files = as_gz(small)
    files[TEST_LABELS] = small[TEST_LABELS]
    del files[f"{TEST_LABELS}.gz"]
    with serving(files) as server:
        assert small == contents(sources.fetch_address(server.base, Remembering()))


def test_a_base_address_that_answers_everything_with_a_page_may_still_hold_plain_files(small: dict[str, bytes]) -> None:
    pages: dict[str, bytes] = {f"{stem}.gz": HTML for stem in STEMS}
    with serving(pages | small) as server:
        assert small == contents(sources.fetch_address(server.base, Remembering()))


def test_a_base_address_without_a_file_is_refused_with_both_reasons(small: dict[str, bytes]) -> None:
    del small[TEST_LABELS]
    with (
        serving(small | {TEST_LABELS: HTML}) as server,
        pytest.raises(DataError, match=f"^source: expected {TEST_LABELS}.*{server.base}.*HTTP 404.*HTML or XML"),
    ):
        sources.fetch_address(server.base, Remembering())


def test_a_base_address_where_nobody_is_at_home_is_asked_for_one_file_only() -> None:
    with pytest.raises(sources.NoAnswerError, match=f"{TRAIN_IMAGES}.gz: Connection refused"):
        sources.fetch_address(unused_address(), Remembering())


# --- raw folders ----------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of all raw folders, under the data_dir ``tmp_path``."""
    return write(tmp_path / "raw", {})


def keep(root: Path, files: Mapping[str, bytes], *, source: str, name: str = "custom-1") -> RawData:
    return raw_data.keep(root, name, opened(files), source=source, origin=source, inputs={}, code="c")


def test_what_is_kept_is_plain_and_found_by_its_source(root: Path) -> None:
    keep(root, as_gz(small_set()), source="/here")
    raw = raw_data.locate(DataSettings(source="/here", data_dir=root.parent))
    assert ("custom-1", set_digest(small_set()), "/here") == (raw.name, raw.digest, raw.provenance.origin)
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    assert small_set()[TRAIN_LABELS][8:] == raw_data.read_arrays(raw)[1].tobytes()


def test_a_source_whose_content_changed_stands_for_what_it_gave_last(root: Path) -> None:
    settings = DataSettings(source="/here", data_dir=root.parent)
    other = small_set(TEST_LABELS=labels([0] * 4))
    for name, files in (("custom-1", small_set()), ("custom-2", other), ("custom-1", small_set())):
        keep(root, files, source="/here", name=name)
        assert name == raw_data.locate(settings).name


def test_the_same_content_may_come_from_several_sources(root: Path) -> None:
    for source in ("/here", "/there", "mirrors"):
        keep(root, small_set(), source=source, name="mnist")
    for source in ("/here", "/there"):
        assert source == raw_data.locate(DataSettings(source=source, data_dir=root.parent)).provenance.origin
    assert "mirrors" == raw_data.locate(DataSettings(data_dir=root.parent)).provenance.origin


def test_a_known_data_set_is_found_by_its_name_wherever_it_came_from(root: Path) -> None:
    keep(root, small_set(), source="/here", name="kmnist")
    assert "/here" == raw_data.locate(DataSettings(dataset="kmnist", data_dir=root.parent)).provenance.origin


def test_what_is_not_there_yet_comes_with_the_command_that_gets_it(tmp_path: Path) -> None:
    settings = DataSettings(dataset="digits", data_dir=tmp_path / "my data")
    command = f"`pipeline download --dataset digits --data-dir '{tmp_path}/my data'`"
    with pytest.raises(DataError, match=f"^data_dir: expected digits in .*, found none. First run {command}"):
        raw_data.locate(settings)
    with pytest.raises(DataError, match=r"expected data from /here in .* `pipeline download --source /here --data-dir"):
        raw_data.locate(DataSettings(source="/here", data_dir=tmp_path))


def test_a_folder_whose_manifest_is_broken_is_not_there(root: Path) -> None:
    raw = keep(root, small_set(), source="/here")
    (raw.folder / "manifest.json").write_text('{"name": "custom-1"')
    with pytest.raises(DataError, match="found none"):
        raw_data.locate(DataSettings(source="/here", data_dir=root.parent))


def test_a_file_that_changed_or_went_is_named(root: Path) -> None:
    raw = keep(root, small_set(), source="/here")
    raw_data.verify(raw)
    (raw.folder / TEST_LABELS).write_bytes(labels([0] * 4))
    with pytest.raises(DataError, match=f"{TEST_LABELS}: expected the digest .*, received {sha256(labels([0] * 4))}"):
        raw_data.verify(raw)
    (raw.folder / TEST_LABELS).unlink()
    with pytest.raises(DataError, match=f"{TEST_LABELS}: expected the digest .*, received No such file or directory"):
        raw_data.read_arrays(raw)


def test_a_folder_takes_the_place_of_another_as_a_whole(tmp_path: Path) -> None:
    target = write(tmp_path / "target", {"old": b""})
    with folders.replacing(target) as incoming:
        write(incoming, {"new": b""})
        assert ["old"] == [path.name for path in target.iterdir()]
    assert [target / "new"] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [target] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("failure", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), DataError)]
)
def test_what_could_not_be_finished_leaves_no_trace(
    failure: BaseException, seen: type[BaseException], tmp_path: Path
) -> None:
    target = write(tmp_path / "target", {"old": b""})

    def fail_half_way() -> None:
        with folders.replacing(target) as incoming:
            write(incoming, {"new": b""})
            raise failure

    with pytest.raises(seen):
        fail_half_way()
    assert [target, target / "old"] == sorted(tmp_path.rglob("*"))


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    write(tmp_path / ".incoming-1", {"half": b""})
    write(tmp_path / ".outgoing-1", {"old": b""})
    with folders.locked(tmp_path, Remembering()):
        assert [".lock"] == [path.name for path in tmp_path.iterdir()]


def test_of_two_processes_the_second_waits_and_says_so(tmp_path: Path) -> None:
    reporter, entered = Remembering(), threading.Event()

    def second() -> None:
        with folders.locked(tmp_path, reporter):
            entered.set()

    thread = threading.Thread(target=second)
    with FileLock(tmp_path / ".lock"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()
    assert [f"Waiting for another process that works in {tmp_path}."] == reporter.notes


def test_a_data_dir_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"file": b""})
    lock = folders.locked(tmp_path / "file" / "raw", Remembering())
    with pytest.raises(DataError, match=r"^data_dir: expected a folder to write to, .*/file/raw: Not a directory"):
        lock.__enter__()


def test_when_a_folder_cannot_take_its_place_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write(tmp_path / "target", {"old": b""})
    rename = Path.rename

    def no_new_name(path: Path, to: Path) -> Path:
        if path.name.startswith(".incoming-"):
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", no_new_name)
    with pytest.raises(DataError, match=f"data_dir: expected to write {target}"), folders.replacing(target):
        pass
    assert [target, target / "old"] == sorted(tmp_path.rglob("*"))
