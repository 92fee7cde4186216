import dataclasses
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.data import datasets, idx, sources, transfer
from pipeline.data.datasets import CATALOGUE, RawFile
from pipeline.data.transfer import NoAnswerError
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
    sha256,
    small_set,
    write,
    zipped,
)

HTML = b"<!DOCTYPE html><html><body>Sign in to this network</body></html>"


@pytest.fixture(autouse=True)
def _quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


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


# --- a folder, the mirrors, an address ------------------------------------------------------------------------------


def read_folder(folder: Path) -> dict[str, RawFile]:
    return sources.read_folder(folder, sources.digests_in(folder))


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": b"", TRAIN_IMAGES: images(2)})
    with pytest.raises(DataError, match=f"^source: expected the four files {TRAIN_IMAGES}, .* in {tmp_path}, found"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match=r"found train-images-idx3-ubyte, train\.csv"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="found an empty folder"):
        read_folder(write(tmp_path / "empty", {}))
    with pytest.raises(DataError, match="none does not exist; expected"):
        read_folder(tmp_path / "none")
    with pytest.raises(DataError, match=r"train\.csv is a file; expected"):
        read_folder(tmp_path / "train.csv")


def test_a_full_folder_is_not_listed_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, {f"{number}.png": b"" for number in range(30)})
    with pytest.raises(DataError, match=r"14\.png, 15\.png and 22 more"):
        read_folder(tmp_path)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> BinaryIO:
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, small_set())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=f"^source: expected files to read in {tmp_path}, received: Permission denied"):
        read_folder(tmp_path)


def test_gz_goes_before_plain(tmp_path: Path) -> None:
    write(tmp_path, small_set() | as_gz(small_set()))
    assert [f"{stem}.gz" for stem in STEMS] == [Path(file.name).name for file in read_folder(tmp_path).values()]


@pytest.mark.parametrize("rename", [lambda name: name.replace("-idx", ".idx"), str.upper])
@pytest.mark.parametrize("files", [small_set(), as_gz(small_set())], ids=["plain", "gz"])
def test_files_are_known_by_the_names_that_archives_give_them(
    tmp_path: Path, files: dict[str, bytes], rename: Callable[[str], str]
) -> None:
    write(tmp_path, {rename(name): content for name, content in files.items()})
    assert small_set() == contents(read_folder(tmp_path))


def test_files_that_are_there_twice_must_hold_the_same(tmp_path: Path) -> None:
    write(tmp_path, small_set() | {f"{TEST_LABELS}.gz": zipped(labels([0] * 4))})
    message = f"source: expected {tmp_path}/{TEST_LABELS}.gz and {tmp_path}/{TEST_LABELS} to hold the same"
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_folders_that_are_named_like_the_files_are_told_from_them(tmp_path: Path) -> None:
    for stem in STEMS[:2]:
        write(tmp_path / stem, {stem: b""})
    (tmp_path / STEMS[2]).symlink_to(tmp_path / STEMS[2])
    with pytest.raises(
        DataError, match=f"found {STEMS[2]} .no file., {STEMS[0]}/, {STEMS[1]}/. Rename the files, or name their folder"
    ):
        read_folder(tmp_path)


def test_a_link_in_a_circle_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(DataError, match="circle is a link to nothing; expected the four files"):
        read_folder(tmp_path / "circle")


@pytest.mark.parametrize("changed", [TRAIN_IMAGES, TEST_LABELS])
def test_a_folder_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Behind the back of whoever has read its first file: that file, or one that is yet to be read."""
    other = small_set(TRAIN_IMAGES=images(20, start=1), TEST_LABELS=labels([0] * 4))

    def read_and_change(stem: str, name: str, file: BinaryIO) -> RawFile:
        opened = datasets.open_file(stem, name, file)
        (tmp_path / changed).write_bytes(other[changed])
        return opened

    write(tmp_path, small_set())
    monkeypatch.setattr(sources, "open_file", read_and_change)
    with pytest.raises(DataError, match=f"source: expected files in {tmp_path} that stay .* changed while they were"):
        read_folder(tmp_path)


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
    with pytest.raises(NoAnswerError, match=f"{TRAIN_IMAGES}.gz: Connection refused"):
        sources.fetch_address(unused_address(), Remembering())
