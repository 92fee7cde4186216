import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import idx
from pipeline.errors import DataError
from tests.unit.data_fixtures import zipped

IMAGES = struct.pack(">4I", 0x0803, 2, 2, 3) + bytes(range(12))
LABELS = struct.pack(">2I", 0x0801, 3) + bytes([7, 0, 9])


def in_members(content: bytes) -> bytes:
    """Return content as two members of gzip, padded with zeros."""
    return zipped(content[:9]) + zipped(content[9:]) + bytes(512)


@pytest.mark.parametrize("pack", [bytes, zipped, in_members])
def test_images_and_labels_are_read(pack: type[bytes]) -> None:
    images = idx.read(pack(IMAGES), name="images")
    assert [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]] == images.tolist()
    assert np.uint8 == images.dtype
    assert [7, 0, 9] == idx.read(pack(LABELS), name="labels").tolist()


@pytest.mark.parametrize("pack", [bytes, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "begins with b''"),
        (b"\x00\x00\x08", "must begin with"),
        (struct.pack(">2I", 0x0802, 0), r"begin with 0x00000801 \(labels\) or 0x00000803 \(images\)"),
        (struct.pack(">2I", 0x0D01, 1) + bytes(4), "must begin with"),
        (IMAGES[:10], "must be a whole IDX file"),
        (IMAGES[:-1], "must have 12 bytes, but has 11: it is cut short"),
        (IMAGES + b"!", "must have 12 bytes, but they are followed by more"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DO'. .* not a web page"),
    ],
)
def test_content_that_is_not_a_whole_idx_file_is_refused_by_name(
    pack: type[bytes], content: bytes, complaint: str
) -> None:
    with pytest.raises(DataError, match=f"^some-file: .*{complaint}"):
        idx.read(pack(content), name="some-file")


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
    with pytest.raises(DataError, match=r"^file.gz: must be a whole IDX file, but is damaged \(.+\)"):
        idx.read(content, name="file.gz")


@pytest.mark.parametrize("pack", [bytes, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize(("rows", "parts"), [(1, [1, 1]), (2, [2]), (3, [2])])
def test_a_stream_gives_all_images_in_parts(tmp_path: Path, pack: type[bytes], rows: int, parts: list[int]) -> None:
    (tmp_path / "images").write_bytes(pack(IMAGES))
    found = list(idx.stream(tmp_path / "images", name="images", height=2, width=3, rows=rows))
    assert parts == [len(part) for part in found]
    assert idx.read(IMAGES, name="images").tolist() == np.concatenate(found).tolist()


@pytest.mark.parametrize(
    ("content", "height", "complaint"),
    [
        (IMAGES, 3, "must have images of 3 × 3 pixels, as the model reads; it has 2 × 3"),
        (IMAGES[:-1], 2, "must have 2 images, but has 1: it is cut short"),
        (IMAGES + b"x", 2, "must have 2 images, but they are followed by more"),
        (LABELS, 2, "must begin with 0x00000803"),
    ],
)
def test_a_stream_refuses_files_that_are_damaged_or_of_another_size(
    tmp_path: Path, content: bytes, height: int, complaint: str
) -> None:
    (tmp_path / "images").write_bytes(zipped(content))
    with pytest.raises(DataError, match=complaint):
        list(idx.stream(tmp_path / "images", name="images", height=height, width=3, rows=1))


def test_an_incomplete_gzip_stream_gives_its_first_images(tmp_path: Path) -> None:
    content = np.random.default_rng(1).integers(0, 256, (100, 100, 100), np.uint8)
    path = tmp_path / "images.gz"
    path.write_bytes(zipped(idx.encode(content))[:-200_000])
    stream = idx.stream(path, name=path.name, height=100, width=100, rows=10)
    assert content[:10].tolist() == next(stream).tolist()
    with pytest.raises(DataError, match="must be a whole IDX file"):
        list(stream)


@pytest.mark.parametrize(
    ("content", "expected"), [(IMAGES, True), (LABELS, True), (zipped(IMAGES), True), (b"\x89PNG", False)]
)
def test_an_idx_file_is_recognised_by_its_beginning(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    assert expected == idx.is_idx(tmp_path / "file")
