"""Files on a disk and in a store; the store is a folder here, behind the same interface of Arrow."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import DataError, UsageError
from pipeline.serving import storage


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that holds the buckets of a store."""
    buckets = tmp_path / "buckets"
    buckets.mkdir()
    system = fs.SubTreeFileSystem(str(buckets), fs.LocalFileSystem())
    located = storage.located

    def of_the_folder(address: str) -> tuple[fs.FileSystem, str]:
        return (system, address.removeprefix("s3://").rstrip("/")) if storage.is_remote(address) else located(address)

    monkeypatch.setattr(storage, "located", of_the_folder)
    return buckets


def save(path: Path, rows: int = 1, about: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"pixels": [[1]] * rows}).replace_schema_metadata(about), path)
    return path


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("answers/", True),
        ("answers", True),
        ("answers.v2/", True),
        ("here.csv", True),  # a folder is there
        ("s3://bucket/answers", True),
        ("s3://bucket/answers.parquet", False),
        ("answers.csv", False),
        ("answers.txt", False),
    ],
)
def test_a_folder_is_one_that_is_there_or_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, output: str, expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").mkdir()
    assert expected == storage.is_folder(output)


def test_a_folder_of_a_store_is_its_parquet_and_idx_files(store: Path) -> None:
    for name in (
        "parts/b.parquet",
        "parts/a.parquet",
        "parts/more/c-idx3-ubyte.gz",
        "parts/_SUCCESS",
        "other/d.parquet",
    ):
        save(store / "bucket" / name)
    expected = ["s3://bucket/parts/a.parquet", "s3://bucket/parts/b.parquet", "s3://bucket/parts/more/c-idx3-ubyte.gz"]
    assert expected == storage.listed(["s3://bucket/parts/"])
    assert ["s3://bucket/x.parquet"] == storage.listed(["s3://bucket/x.parquet"])
    (store / "bucket" / "empty").mkdir()
    with pytest.raises(DataError, match="expected a folder with Parquet or IDX files"):
        storage.listed(["s3://bucket/empty"])


def test_an_etag_changes_with_the_file(store: Path, tmp_path: Path) -> None:
    here, there = save(tmp_path / "a.parquet"), save(store / "bucket" / "a.parquet")
    addresses = [str(here), "s3://bucket/a.parquet"]
    before = [storage.etag(address) for address in addresses]
    assert before == [storage.etag(address) for address in addresses]

    save(here, rows=2)
    os.utime(there, (1, 1))  # another file of the same size
    assert set() == set(before) & {storage.etag(address) for address in addresses}


def test_files_go_to_a_store_and_come_from_it_whole(store: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "a.parquet", about={"who": "me"})
    (store / "bucket").mkdir()

    assert storage.about("s3://bucket/b.parquet") is None
    storage.put(pa.py_buffer(file.read_bytes()), "s3://bucket/b.parquet")
    assert file.read_bytes() == (store / "bucket" / "b.parquet").read_bytes()
    assert b"me" == (storage.about("s3://bucket/b.parquet") or {})[b"who"]
    with storage.fetched("s3://bucket/b.parquet") as copy:
        assert ("b.parquet", file.read_bytes()) == (copy.name, copy.read_bytes())


def test_what_stands_there_is_none_nothing_or_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "other.parquet").write_text("no Parquet file")
    assert storage.about(str(tmp_path / "missing.parquet")) is None
    assert {} == storage.about(str(tmp_path / "other.parquet"))
    assert b"me" == (storage.about(str(save(tmp_path / "a.parquet", about={"who": "me"}))) or {})[b"who"]


def test_what_cannot_be_read_or_written_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.parquet: expected a file, found none"):
        storage.etag(str(tmp_path / "missing.parquet"))
    with pytest.raises(DataError, match=r"s3://bucket/missing\.parquet: expected a file, found none"):
        storage.etag("s3://bucket/missing.parquet")
    said = r"s3://bucket/missing\.parquet: expected a file that can be read"
    with pytest.raises(DataError, match=said), storage.fetched("s3://bucket/missing.parquet"):
        pytest.fail("there is none")
    file = save(tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=r"expected a folder that can be written to, received .*: Not a directory\."):
        storage.put(pa.py_buffer(b"a"), str(file / "b.parquet"))
    with pytest.raises(UsageError, match="expected a folder that can be written to"):
        storage.prepare(str(file))


@pytest.mark.parametrize("name", storage.ENDPOINTS)
def test_a_store_that_is_not_amazons_is_found_by_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for each in storage.ENDPOINTS:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(fs, "S3FileSystem", lambda **options: asked.append(options))

    assert (None, "bucket/key") == storage.located("s3://bucket/key")
    assert [{"endpoint_override": "http://127.0.0.1:1"}] == asked
