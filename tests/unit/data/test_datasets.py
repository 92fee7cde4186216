"""The IDX format, and the sources of four IDX files: scikit-learn, folders, this package, a mirror and addresses."""

import hashlib
import socket
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import datasets, formats
from pipeline.data.contents import Contents
from pipeline.data.datasets import CATALOGUE, Published, read_idx
from pipeline.errors import DataError
from pipeline.progress import Reporter
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import (
    STEMS,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    Answer,
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
IMAGES = struct.pack(">4I", 0x0803, 2, 2, 3) + bytes(range(12))
LABELS = struct.pack(">2I", 0x0801, 3) + bytes([7, 0, 9])


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


# --- the IDX format -------------------------------------------------------------------------------------------------


def in_members(content: bytes) -> bytes:
    """Return content as two members of gzip, padded with zeros."""
    return zipped(content[:9]) + zipped(content[9:]) + bytes(512)


@pytest.mark.parametrize("pack", [bytes, zipped, in_members])
def test_images_and_labels_are_read(pack: type[bytes]) -> None:
    images = read_idx(pack(IMAGES), name="images", kind="images")
    assert [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]] == images.tolist()
    assert np.uint8 == images.dtype
    assert [7, 0, 9] == read_idx(pack(LABELS), name="labels", kind="labels").tolist()


@pytest.mark.parametrize("pack", [bytes, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (b"\x00\x00\x08", "must begin with"),
        (LABELS, r"must begin with 0x00000803, the magic number of an IDX file of images"),
        (struct.pack(">2I", 0x0D03, 1) + bytes(4), "must begin with"),
        (IMAGES[:10], "must have 16 bytes, but has 10: it is cut short"),
        (IMAGES[:-1], "must have 28 bytes, but has 27: it is cut short"),
        (IMAGES[:4] + b"\xff" * 12, "bytes, but has 16: it is cut short"),
        (IMAGES + b"!", "must have 28 bytes, but they are followed by more"),
        (HTML, "begins with b'<!DO'. .* not a web page"),
    ],
)
def test_content_that_is_not_a_whole_idx_file_is_refused_by_name(
    pack: type[bytes], content: bytes, complaint: str
) -> None:
    with pytest.raises(DataError, match=f"^some-file: .*{complaint}"):
        read_idx(pack(content), name="some-file", kind="images")


@pytest.mark.parametrize(
    "content",
    [
        zipped(IMAGES)[:-9],
        zipped(IMAGES)[:2],
        zipped(IMAGES)[:-6] + b"!!!!!!",  # a wrong checksum
        zipped(IMAGES)[:10] + b"\xff" * 20,
        zipped(IMAGES) + b"more",
    ],
    ids=["cut short", "magic number alone", "check sum", "content", "more"],
)
def test_a_damaged_gzip_file_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^file.gz: must be a whole gzip file, but is damaged \(.+\)"):
        read_idx(content, name="file.gz", kind="images")


def test_no_more_of_a_compressed_file_is_read_than_its_header_says() -> None:
    bomb = zipped(IMAGES + bytes(2**26))
    tracemalloc.start()
    with pytest.raises(DataError, match="they are followed by more"):
        read_idx(bomb, name="bomb.gz", kind="images")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**22 > peak


# --- scikit-learn and folders ---------------------------------------------------------------------------------------


def read(folder: Path) -> Contents:
    return formats.read(DataSettings(source=str(folder)))


def test_published_files_are_recognised_by_digests_of_their_content_or_of_the_gz(
    tmp_path: Path, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, packed = write(tmp_path / "plain", small_set()), write(tmp_path / "gz", as_gz(small_set()))
    mnist = {f"{stem}.gz": (mnist_folder / f"{stem}.gz").read_bytes() for stem in STEMS}
    assert "mnist" == read(write(tmp_path / "mnist", mnist)).name
    assert ["custom"] * 2 == [read(folder).name[:6] for folder in (plain, packed)]
    md5s = tuple(hashlib.md5(each, usedforsecurity=False).hexdigest() for each in as_gz(small_set()).values())
    monkeypatch.setitem(CATALOGUE, "kmnist", Published(digests=md5s, class_names=("no", "yes")))
    assert ["custom", "kmnist"] == [read(folder).name[:6] for folder in (plain, packed)]


def test_digits_are_all_of_scikit_learns_scaled_to_255_a_fifth_of_each_for_testing() -> None:
    contents, origin = datasets.published("digits", Reporter())
    train, test = datasets.parts_of({stem: (stem, content) for stem, content in contents.files.items()}).values()
    bunch = load_digits()
    expected = sorted((*row, label) for row, label in zip(bunch.data.tolist(), bunch.target.tolist(), strict=True))
    pixels = np.concatenate([train.examples, test.examples]).reshape(-1, 64) * (16 / 255)
    found = np.concatenate([train.labels, test.labels]).tolist()
    assert expected == sorted((*row, label) for row, label in zip(pixels.round().tolist(), found, strict=True))
    assert (255, 1437, 360) == (train.examples.max(), len(train.labels), len(test.labels))
    assert np.abs(np.bincount(bunch.target) / 5 - np.bincount(test.labels)).max() < 1
    assert ("digits", "scikit-learn") == (contents.name, origin)


@pytest.mark.parametrize("rename", [str, lambda name: name.replace("-idx", ".idx"), str.upper])
@pytest.mark.parametrize("files", [small_set(), as_gz(small_set()), small_set() | as_gz(small_set())])
def test_files_are_recognised_by_their_names_in_archives(
    tmp_path: Path, files: dict[str, bytes], rename: Callable[[str], str]
) -> None:
    write(tmp_path, {rename(name): content for name, content in files.items()})
    assert small_set() == read(tmp_path).files


# --- mirrors and addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404), f"{TRAIN_LABELS}, plain or as .gz; the answer is HTTP 404"),
        (HTML, "and not a web page"),
        (Answer(WHOLE[:20], length=len(WHOLE)), "the transfer was cut short"),
        (Answer(WHOLE[:20]), "must be a whole gzip file, but is damaged"),
        (zipped(labels([1, 0] * 10)), "must have the digests of mnist, but have others"),
        (zipped(images(20)), "must begin with 0x00000801"),
    ],
)
def test_files_of_a_mirror_that_are_not_the_published_ones_are_refused(
    answer: bytes | Answer, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(as_gz(small_set()) | {f"{TRAIN_LABELS}.gz": answer}) as mirror:
        monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), mirror.base))
        with pytest.raises(DataError, match=f"^dataset: mnist cannot be read from its mirror. .*{reason}.*--source F"):
            datasets.published("mnist", Reporter())


def test_a_mirror_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, bytes | Answer | list[bytes | Answer]] = {**as_gz(small_set())}
    answers |= {f"{TEST_LABELS}.gz": [Answer(status=503), zipped(small_set()[TEST_LABELS])]}
    with serving(answers) as mirror:
        monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), mirror.base))
        contents, origin = datasets.published("mnist", Reporter())
    assert ("mnist", small_set(), mirror.base) == (contents.name, contents.files, origin)


def test_a_mirror_that_does_not_answer_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), closed))
    with pytest.raises(DataError) as caught:
        datasets.published("mnist", Reporter())
    assert (
        f"dataset: mnist cannot be read from its mirror. {closed}{TRAIN_IMAGES}.gz: Connection refused. Try again "
        "later; `--source FOLDER-OR-URL` takes the four IDX files from elsewhere, and `--dataset digits` needs no "
        "network."
    ) == str(caught.value)


def test_damaged_files_of_the_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, as_gz(small_set({TEST_LABELS: labels([1])[:-1]})))
    monkeypatch.setitem(CATALOGUE, "mnist", published(small_set(), folder=folder))
    with pytest.raises(DataError, match=f"^dataset: mnist cannot be read from this package. {TEST_LABELS}: .* cut sho"):
        datasets.published("mnist", Reporter())


def test_an_address_has_gz_or_plain_files_and_a_missing_one_is_reported() -> None:
    files = small_set()
    files[f"{TEST_LABELS}.gz"] = zipped(files.pop(TEST_LABELS))
    with serving(files) as server:
        assert small_set() == datasets.at_address(server.base, Reporter()).files
    del files[f"{TEST_LABELS}.gz"]
    with serving(files) as server, pytest.raises(DataError, match=f"^{server.base}: must have {TEST_LABELS}.*HTTP 404"):
        datasets.at_address(server.base, Reporter())


def test_a_file_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "LARGEST", 50)
    with serving({TRAIN_IMAGES: bytes(2**17)}) as server, pytest.raises(DataError, match=r"at most 50 bytes"):
        datasets.at_address(server.base, Reporter())


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DataError, match=r": timed out\."):
        datasets.at_address(f"http://127.0.0.1:{silent.getsockname()[1]}", Reporter())
