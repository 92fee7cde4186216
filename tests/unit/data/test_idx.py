import struct
import tracemalloc
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
        (b"", "it is empty"),
        (b"\x00\x00\x08", "must begin with"),
        (struct.pack(">2I", 0x0802, 0), r"begin with 0x00000801 \(labels\) or 0x00000803 \(images\)"),
        (struct.pack(">2I", 0x0D01, 1) + bytes(4), "must begin with"),
        (IMAGES[:10], "must have 16 bytes, but has 10: it is cut short"),
        (IMAGES[:-1], "must have 28 bytes, but has 27: it is cut short"),
        (IMAGES + b"!", "must have 28 bytes, but they are followed by more"),
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
    with pytest.raises(DataError, match=r"^file.gz: must be a whole gzip file, but is damaged \(.+\)"):
        idx.read(content, name="file.gz")


@pytest.mark.parametrize(
    ("content", "expected"), [(IMAGES, True), (LABELS, True), (zipped(IMAGES), True), (b"\x89PNG", False)]
)
def test_an_idx_file_is_recognised_by_its_beginning(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    assert expected == idx.is_idx(tmp_path / "file")


def test_no_more_of_a_compressed_file_is_read_than_its_header_says() -> None:
    bomb = zipped(IMAGES + bytes(2**26))
    tracemalloc.start()
    with pytest.raises(DataError, match="they are followed by more"):
        idx.read(bomb, name="bomb.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**22 > peak
