import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import idx
from pipeline.errors import DataError
from tests.unit.data_fixtures import zipped

IMAGES = struct.pack(">4I", 0x0803, 2, 2, 3) + bytes(range(12))
LABELS = struct.pack(">2I", 0x0801, 3) + bytes([7, 0, 9])


def test_images_are_read_image_by_image_and_row_by_row() -> None:
    expected = [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    actual = idx.read(IMAGES, name="images")
    assert expected == actual.tolist()
    assert np.uint8 == actual.dtype


def test_labels_are_read() -> None:
    assert [7, 0, 9] == idx.read(LABELS, name="labels").tolist()


def test_reading_copies_nothing() -> None:
    assert np.shares_memory(np.frombuffer(IMAGES, np.uint8), idx.read(memoryview(IMAGES), name="images"))


@pytest.mark.parametrize("content", [IMAGES, LABELS])
def test_encode_is_the_inverse(content: bytes) -> None:
    assert content == idx.encode(idx.read(content, name="file"))


def test_an_array_that_is_not_contiguous_is_encoded_in_its_own_order() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)[:, :, ::-1]
    assert bytes([2, 1, 0, 5, 4, 3]) == idx.encode(array)[16:]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "received an empty file"),
        (b"\x00\x00\x08", "received 0x000008"),
        (struct.pack(">2I", 0x0802, 0), r"magic number 0x00000801 \(labels\) or 0x00000803 \(images\).* 0x00000802"),
        (struct.pack(">2I", 0x0D01, 1) + bytes(4), "received 0x00000d01"),
        (IMAGES[:10], "expected a header of 16 bytes, received 10 in all"),
        (IMAGES[:-1], "expected 28 bytes, for 2 × 2 × 3 values and a header of 16, received 27: the file is cut short"),
        (IMAGES + b"!", "received 29: the file is followed by something else"),
        (struct.pack(">4I", 0x0803, *[2**32 - 1] * 3), "expected 79,228,162,458,924,105,385,300,197,391 bytes"),
        (b"\n <!DOCTYPE html><html>", "received an HTML or XML page that begins '<!DOCTYPE html"),
        (b"\xef\xbb\xbf<html lang=en>", "received an HTML or XML page"),
        (b"<?xml version='1.0'?><Error/>", "received an HTML or XML page"),
    ],
)
def test_what_is_no_idx_file_is_refused_by_name(content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=f"^some-file: .*{complaint}"):
        idx.read(content, name="some-file")


def test_labels_in_place_of_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected the magic number 0x00000803 \(images\).* 0x00000801 \(labels\)"):
        idx.read(LABELS, name="some-file", kind="images")


def unpack(content: bytes, name: str = "file.gz") -> bytes:
    return idx.unpack(idx.Received(BytesIO(content), name))


@pytest.mark.parametrize("content", [IMAGES, LABELS])
def test_gzip_is_taken_off_and_plain_content_left_alone(content: bytes) -> None:
    assert content == unpack(zipped(content))
    assert content == unpack(content)


def test_gzip_may_have_several_members_and_be_filled_up_with_zeros() -> None:
    assert IMAGES == unpack(zipped(IMAGES[:9]) + zipped(IMAGES[9:]) + bytes(512))


@pytest.mark.parametrize("content", [IMAGES, zipped(IMAGES)])
def test_what_was_received_has_its_digests(content: bytes) -> None:
    received = idx.Received(BytesIO(content), "file")
    idx.unpack(received)
    expected = {algorithm: hashlib.new(algorithm, content).hexdigest() for algorithm in ("sha256", "md5")}
    assert (len(content), expected) == (received.size, received.digests())


def _damaged(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 0xFF]) + content[-5:]  # inside the check sum


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (zipped(IMAGES)[:-9], "received one that ends after"),
        (zipped(IMAGES)[:2], "received one that ends after 2 bytes"),
        (_damaged(zipped(IMAGES)), "received a damaged one"),
        (zipped(IMAGES)[:10] + b"\xff" * 20, "received a damaged one"),
        (zipped(IMAGES) + b"more", "received a damaged one"),
    ],
)
def test_a_broken_gzip_file_is_refused_by_name(content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=f"^file.gz: expected a whole gzip file, {complaint}"):
        unpack(content)


class Endless(BytesIO):
    """A file of ``first``, and then ``more`` over and over; counts what is read of it."""

    def __init__(self, first: bytes, more: bytes) -> None:
        super().__init__()
        self._left, self._more, self.taken = first, more, 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self._left += self._more * (1 + size // len(self._more))
        part, self._left = self._left[:size], self._left[size:]
        self.taken += len(part)
        return part


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (Endless(IMAGES, bytes(1)), "expected 28 bytes, as its header says, received more: .* something else"),
        (Endless(zipped(IMAGES), zipped(bytes(10**6))), "expected 28 bytes, .* received more"),
        (Endless(zipped(IMAGES), zipped(b"")), "expected at most 1,048,576 bytes for what its header"),
        (Endless(zipped(IMAGES), bytes(1)), "expected at most 1,048,576 bytes for what its header promises"),
        (Endless(b"\x1f\x8b\x08\x08" + bytes(6), b"name"), "expected at most 1,048,576 bytes for what its header"),
        (
            Endless(struct.pack(">4I", 0x0803, *[2**32 - 1] * 3), bytes(1)),
            "expected at most 8,589,934,592 bytes, .* promises 79",
        ),
        (Endless(b"", bytes(1)), "expected the magic number .* received 0x00000000"),
    ],
    ids=["plain", "bomb", "empty members", "zeros", "a name", "a promise", "no header"],
)
def test_no_more_is_read_than_the_header_promises(file: Endless, complaint: str) -> None:
    with pytest.raises(DataError, match=f"^file: {complaint}"):
        idx.unpack(idx.Received(file, "file"))
    assert file.taken <= 3 * idx.PART


def test_what_a_header_promises_is_not_taken_from_the_memory_before_it_is_there() -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match=r"expected 4,000,000,016 bytes, .* received 116: the file is cut short"):
        unpack(struct.pack(">4I", 0x0803, 40_000, 1_000, 100) + bytes(100))
    assert tracemalloc.get_traced_memory()[1] < 10 * idx.PART
    tracemalloc.stop()


def test_published_mnist_is_read(mnist_folder: Path) -> None:
    content = (mnist_folder / "t10k-labels-idx1-ubyte.gz").read_bytes()
    labels = idx.read(unpack(content), name="labels", kind="labels")
    # Counts of the digits 0–9 among the 10,000 test labels, as published with the data.
    assert [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] == np.bincount(labels).tolist()


@pytest.fixture(params=["plain", "gzip"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes a file, plain or gzip."""

    def write(content: bytes) -> Path:
        path = tmp_path / "images"
        path.write_bytes(content if request.param == "plain" else zipped(content))
        return path

    return write


@pytest.mark.parametrize(("rows", "parts"), [(1, [1, 1]), (2, [2]), (3, [2])])
def test_a_stream_gives_all_images_in_parts(packed: Callable[[bytes], Path], rows: int, parts: list[int]) -> None:
    found = list(idx.stream(packed(IMAGES), height=2, width=3, rows=rows))

    assert parts == [len(part) for part in found]
    assert idx.read(IMAGES, name="images").tolist() == np.concatenate(found).tolist()


@pytest.mark.parametrize(
    ("content", "height", "said"),
    [
        (IMAGES, 3, "expected images of 3 × 3 pixels, which the model reads, received 2 × 3"),
        (IMAGES[:-1], 2, "expected 2 images, received 1: cut short"),
        (IMAGES + b"x", 2, "expected 2 images, received more"),
        (LABELS, 2, "expected the magic number 0x00000803"),
        (IMAGES[:9], 2, "expected a header of 16 bytes, received 9"),
    ],
)
def test_a_stream_refuses_what_is_not_whole_or_not_of_this_size(
    packed: Callable[[bytes], Path], content: bytes, height: int, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        list(idx.stream(packed(content), height=height, width=3, rows=1))


def test_a_stream_of_gzip_that_is_cut_short_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    content = np.random.default_rng(1).integers(0, 256, (100, 100, 100), np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(zipped(idx.encode(content))[:-200_000])
    stream = idx.stream(path, height=100, width=100, rows=10)

    assert content[:10].tolist() == next(stream).tolist()
    with pytest.raises(DataError, match="before its content does"):
        list(stream)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(IMAGES, True), (LABELS, True), (zipped(IMAGES), True), (b"\x89PNG", False)],
)
def test_a_file_is_known_as_idx_by_how_it_begins(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    assert expected == idx.is_idx(tmp_path / "file")
