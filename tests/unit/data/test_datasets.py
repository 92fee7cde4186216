"""The sources of four IDX files: scikit-learn, folders, this package, mirrors and addresses."""

import hashlib
import re
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import datasets, formats, idx
from pipeline.data.datasets import CATALOGUE, Published
from pipeline.errors import DataError
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
    small_set,
    write,
    zipped,
)

HTML = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"
WHOLE = zipped(small_set()[TRAIN_LABELS])


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_published_files_are_recognised_by_digests_of_their_content_or_of_the_gz(
    tmp_path: Path, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = write(tmp_path / "plain", small_set()), write(tmp_path / "gz", as_gz(small_set()))
    mnist = {f"{stem}.gz": (mnist_folder / f"{stem}.gz").read_bytes() for stem in STEMS}
    assert "mnist" == formats.read(write(tmp_path / "mnist", mnist)).name
    assert ["custom"] * 2 == [formats.read(folder).name for folder in (plain, packed)]
    md5s = tuple(f"md5:{hashlib.md5(each, usedforsecurity=False).hexdigest()}" for each in as_gz(small_set()).values())
    monkeypatch.setitem(CATALOGUE, "kmnist", Published(digests=md5s, class_names=("no", "yes")))
    assert ["custom", "kmnist"] == [formats.read(folder).name for folder in (plain, packed)]


def test_digits_are_all_of_scikit_learns_scaled_to_255_a_fifth_of_each_for_testing() -> None:
    contents, origin = datasets.published("digits", Remembering())
    train_images, train_labels, test_images, test_labels = (idx.read(contents.files[stem], name=stem) for stem in STEMS)
    bunch = load_digits()
    expected = sorted((*row, label) for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    pixels = np.concatenate([train_images, test_images]).reshape(-1, 64) * (16 / 255)
    found = np.concatenate([train_labels, test_labels]).tolist()
    assert expected == sorted((*row, label) for row, label in zip(pixels.round().tolist(), found, strict=True))
    assert (255, 1437, 360) == (train_images.max(), len(train_labels), len(test_labels))
    assert np.abs(np.bincount(bunch.target) / 5 - np.bincount(test_labels)).max() < 1
    assert ("digits", "scikit-learn") == (contents.name, origin)


@pytest.mark.parametrize("rename", [str, lambda name: name.replace("-idx", ".idx"), str.upper])
@pytest.mark.parametrize("files", [small_set(), as_gz(small_set()), small_set() | as_gz(small_set())])
def test_files_are_recognised_by_their_names_in_archives(
    tmp_path: Path, files: dict[str, bytes], rename: Callable[[str], str]
) -> None:
    write(tmp_path, {rename(name): content for name, content in files.items()})
    assert small_set() == formats.read(tmp_path).files


# --- mirrors and addresses ------------------------------------------------------------------------------------------


def fetched(monkeypatch: pytest.MonkeyPatch, reporter: Remembering, *mirrors: str, folder: Path | None = None) -> str:
    """Publish the small set under the name mnist, download it, and return its origin."""
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), *mirrors, folder=folder))
    contents, origin = datasets.published("mnist", reporter)
    assert ("mnist", small_set()) == (contents.name, contents.files)
    return origin


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), "HTTP 404"),
        (HTML, "and not a web page"),
        (Answer(WHOLE[:20], length=len(WHOLE)), "the transfer was cut short"),
        (Answer(WHOLE[:20]), "must be a whole gzip file, but is damaged"),
        (zipped(labels([1, 0] * 10)), "must have files with the digests of mnist; it has others"),
        (zipped(images(20)), "must begin with 0x00000801"),
    ],
)
def test_where_a_mirror_fails_the_next_one_serves(
    answer: bytes | Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Remembering()
    with serving(as_gz(small_set()) | {f"{TRAIN_LABELS}.gz": answer}) as bad, serving(as_gz(small_set())) as good:
        assert good.base == fetched(monkeypatch, reporter, bad.base, good.base, "http://never.asked/")
    (note,) = reporter.notes
    assert re.match(f"A source failed: {bad.base}.*: .*{reason}", note)
    assert [f"{stem}.gz" for stem in STEMS] == good.requests
    size = len(zipped(small_set()[TRAIN_IMAGES]))
    assert (f"{TRAIN_IMAGES}.gz", size, size) in reporter.transfers


@pytest.mark.parametrize("damage", [None, labels([1])[:-1]], ids=["none", "short"])
def test_mirrors_replace_missing_or_damaged_files_of_the_package_and_a_busy_one_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    reporter = Remembering()
    folder = write(tmp_path / "package", {f"{TRAIN_IMAGES}.gz": zipped(damage)} if damage else {})
    once: dict[str, bytes | Answer | list[bytes | Answer]] = {**as_gz(small_set())}
    once |= {f"{TEST_LABELS}.gz": [Answer(status=503), zipped(small_set()[TEST_LABELS])]}
    with serving(once) as server:
        assert server.base == fetched(monkeypatch, reporter, server.base, folder=folder)
    assert 1 == len(reporter.notes)


def test_a_file_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "LARGEST", 50)
    with serving({TRAIN_IMAGES: bytes(2**17)}) as server, pytest.raises(DataError, match=r"at most 50 bytes"):
        datasets.fetch(f"{server.base}{TRAIN_IMAGES}", Remembering())


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


def test_an_address_has_gz_or_plain_files_and_a_missing_one_is_reported_with_both_reasons() -> None:
    files = small_set()
    files[f"{TEST_LABELS}.gz"] = zipped(files.pop(TEST_LABELS))
    with serving(files) as server:
        assert small_set() == datasets.at_address(server.base, Remembering()).files
    del files[f"{TEST_LABELS}.gz"]
    with (
        serving(files) as server,
        pytest.raises(DataError, match=f"^source: {server.base} must have {TEST_LABELS}.*HTTP 404.*HTTP 404"),
    ):
        datasets.at_address(server.base, Remembering())


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataError, match=r": timed out\."):
        datasets.fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/a", Remembering())
