"""The sources of data: scikit-learn, folders, this package, mirrors and addresses."""

import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import idx, prepare, stored
from pipeline.data.datasets import CATALOGUE, Published
from pipeline.errors import DataError
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
WHOLE = zipped(small_set()[TRAIN_LABELS])
OTHER = small_set({TEST_LABELS: labels([1, 1, 0, 1])})


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def contents(files: prepare.Files) -> dict[str, bytes]:
    return {stem: file.content for stem, file in files.items()}


def name_of(folder: Path, files: dict[str, bytes]) -> str:
    """Return the name of the data in a folder with these files."""
    source = write(folder / set_digest({name.removesuffix(".gz"): content for name, content in files.items()}), files)
    settings = DataSettings(source=str(source), data_dir=write(folder / "data" / "raw", {}).parent)
    return stored.keep(settings, prepare.read_folder(source), origin="", inputs={}).name


# --- known data sets ------------------------------------------------------------------------------------------------


def test_data_is_recognised_by_its_content_however_it_is_compressed(tmp_path: Path, mnist_folder: Path) -> None:
    assert "mnist" == name_of(tmp_path, {f"{stem}.gz": (mnist_folder / f"{stem}.gz").read_bytes() for stem in STEMS})
    for files in (small_set(), OTHER):
        name = f"custom-{set_digest(files)[:8]}"
        assert (name, name) == (name_of(tmp_path, files), name_of(tmp_path, as_gz(files)))


def test_a_published_md5_of_the_gz_identifies_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5s = tuple(f"md5:{hashlib.md5(each, usedforsecurity=False).hexdigest()}" for each in as_gz(small_set()).values())
    monkeypatch.setitem(CATALOGUE, "kmnist", Published(digests=md5s, class_names=("no", "yes")))
    assert "kmnist" == name_of(tmp_path, as_gz(small_set()))
    assert f"custom-{set_digest(small_set())[:8]}" == name_of(tmp_path, small_set())


def test_digits_are_all_of_scikit_learns_scaled_to_255_a_fifth_of_each_for_testing() -> None:
    files = prepare.make_digits()
    train_images, train_labels, test_images, test_labels = (idx.read(files[stem].content, name=stem) for stem in STEMS)
    bunch = load_digits()
    expected = sorted((*row, label) for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    pixels = np.concatenate([train_images, test_images]).reshape(-1, 64) * (16 / 255)
    found = np.concatenate([train_labels, test_labels]).tolist()
    assert expected == sorted((*row, label) for row, label in zip(pixels.round().tolist(), found, strict=True))
    assert (255, 1437, 360) == (train_images.max(), len(train_labels), len(test_labels))
    assert np.abs(np.bincount(bunch.target) / 5 - np.bincount(test_labels)).max() < 1
    assert CATALOGUE["digits"].digests == tuple(file.digests[0] for file in files.values())


# --- a folder -------------------------------------------------------------------------------------------------------


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": b"", TRAIN_IMAGES: images(2)})
    (tmp_path / TRAIN_LABELS).mkdir()
    for folder, complaint in {
        tmp_path: f"has empty/, full/, {TRAIN_IMAGES}, {TRAIN_LABELS}/, train.csv. Rename the files",
        write(tmp_path / "empty", {}): "has none",
        write(tmp_path / "full", {f"{number}.png": b"" for number in range(30)}): r"16\.png, 17\.png and 20 more",
    }.items():
        with pytest.raises(
            DataError, match=f"^source: must be a folder with the four files {TRAIN_IMAGES}, .*{complaint}"
        ):
            prepare.read_folder(folder)


@pytest.mark.parametrize("rename", [str, lambda name: name.replace("-idx", ".idx"), str.upper])
@pytest.mark.parametrize("files", [small_set(), as_gz(small_set()), small_set() | as_gz(small_set())])
def test_files_are_recognised_by_their_names_in_archives(
    tmp_path: Path, files: dict[str, bytes], rename: Callable[[str], str]
) -> None:
    write(tmp_path, {rename(name): content for name, content in files.items()})
    assert small_set() == contents(prepare.read_folder(tmp_path))
    expected = {f"{tmp_path.name}/{rename(name)}": sha256(content) for name, content in files.items()}
    assert expected == prepare.digests_of(DataSettings(source=str(tmp_path)))


def test_files_that_are_there_twice_must_hold_the_same(tmp_path: Path) -> None:
    write(tmp_path, small_set() | {f"{TEST_LABELS}.gz": zipped(labels([0] * 4))})
    with pytest.raises(DataError, match=f"^source: {tmp_path}/{TEST_LABELS} and .*{TEST_LABELS}.gz must have equal"):
        prepare.read_folder(tmp_path)


# --- mirrors and addresses ------------------------------------------------------------------------------------------


def fetched(monkeypatch: pytest.MonkeyPatch, reporter: Remembering, *mirrors: str, folder: Path | None = None) -> str:
    """Publish the small set under the name mnist, download it, and return its origin."""
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), *mirrors, folder=folder))
    files, origin = prepare.fetch("mnist", reporter)
    assert small_set() == contents(files)
    return origin


def test_the_first_mirror_that_works_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Remembering()
    with serving(as_gz(small_set())) as server:
        assert server.base == fetched(monkeypatch, reporter, server.base, "http://never.asked/")
    assert [f"{stem}.gz" for stem in STEMS] == server.requests
    size = len(zipped(small_set()[TRAIN_IMAGES]))
    assert (f"{TRAIN_IMAGES}.gz", size, size) in reporter.transfers


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), "HTTP 404"),
        (Answer(status=503), "HTTP 503"),
        (HTML, "is an HTML or XML page"),
        (Answer(WHOLE[:20], length=len(WHOLE)), r"IncompleteRead\(20 bytes read"),
        (Answer(WHOLE[:20]), "must be a whole gzip file, but is damaged"),
        (zipped(labels([1, 0] * 10)), f"must have the digest sha256:{sha256(labels([0, 1] * 10))}; got sha"),
        (zipped(images(20)), "must begin with 0x00000801"),
    ],
)
def test_where_a_mirror_fails_the_next_one_serves(
    answer: bytes | Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Remembering()
    with serving(as_gz(small_set()) | {f"{TRAIN_LABELS}.gz": answer}) as bad, serving(as_gz(small_set())) as good:
        assert good.base == fetched(monkeypatch, reporter, bad.base, good.base)
    (note,) = reporter.notes
    assert re.match(f"A source failed: {bad.base}.*{TRAIN_LABELS}.*: .*{reason}", note)


@pytest.mark.parametrize("damage", [None, labels([1, 1, 0, 1]), labels([1])[:-1]], ids=["none", "other", "short"])
def test_mirrors_replace_missing_or_damaged_files_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    reporter = Remembering()
    folder = write(tmp_path / "package", {f"{TRAIN_IMAGES}.gz": zipped(damage)} if damage else {})
    with serving(as_gz(small_set())) as server:
        assert server.base == fetched(monkeypatch, reporter, server.base, folder=folder)
    assert 1 == len(reporter.notes)


def test_when_no_mirror_answers_the_error_names_each_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with serving({}) as empty, pytest.raises(DataError) as caught:
        fetched(monkeypatch, Remembering(), closed, empty.base)
    assert (
        f"dataset: mnist cannot be downloaded: all of its mirrors failed. "
        f"{closed}{TRAIN_IMAGES}.gz: Connection refused. {empty.base}{TRAIN_IMAGES}.gz: HTTP 404. "
        "Try again later; `--source FOLDER-OR-URL` takes the four IDX files from elsewhere, and `--dataset digits` "
        "needs no network."
    ) == str(caught.value)


@pytest.mark.parametrize("missing", [{}, {f"{stem}.gz": HTML for stem in STEMS}], ids=["404", "a page"])
def test_an_address_may_hold_gz_or_plain_files(missing: dict[str, bytes]) -> None:
    files = missing | small_set()
    files[f"{TEST_LABELS}.gz"] = zipped(files.pop(TEST_LABELS))
    with serving(files) as server:
        assert small_set() == contents(prepare.fetch_address(server.base, Remembering()))


def test_an_address_without_a_file_is_refused_with_both_reasons() -> None:
    with (
        serving(small_set({TEST_LABELS: HTML})) as server,
        pytest.raises(DataError, match=f"^source: {server.base} must have {TEST_LABELS}.*HTTP 404.*HTML or XML"),
    ):
        prepare.fetch_address(server.base, Remembering())


def test_temporary_failures_are_tried_again_and_refusals_are_not() -> None:
    reporter = Remembering()
    with serving({"a": [Answer(status=503), Answer(b"x", length=9), Answer(bytes(100_000), length=None)]}) as server:
        assert bytes(100_000) == prepare.fetch_file(f"{server.base}a", reporter)
        with pytest.raises(DataError, match="HTTP 404"):
            prepare.fetch_file(f"{server.base}b", Remembering())
    assert ["a", "a", "a", "b"] == server.requests
    assert ("a", 100_000, None) == reporter.transfers[-1]  # because the size is unknown


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataError, match=r": timed out\."):
        prepare.fetch_file(f"http://127.0.0.1:{silent.getsockname()[1]}/a", Remembering())
