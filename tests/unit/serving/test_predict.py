"""A folder of answers for many files: missing answers are written, existing ones stay, a failure affects one file."""

import json
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline import disk
from pipeline.errors import DataError, UsageError
from pipeline.execution import executors
from pipeline.execution.executors import Event, Executor, Take
from pipeline.progress import Reporter
from pipeline.serving import predict
from pipeline.tracking import models
from tests.unit.serving.test_answers import CLASSIFIER, READER


class InTurn(Executor):
    """An executor that runs jobs in this process, one after the other."""

    def default_workers(self, trainings: int) -> int:
        return 1

    def run(self, work: Any, jobs: Iterable[Any], *, count: int, take: Take) -> None:
        for job in jobs:
            take(Event("started", job))
            kind, content = executors.outcome(work, job, lambda message: True)
            take(Event(kind, job, content))


@pytest.fixture(autouse=True)
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the name of a model stand for its digest, and run all jobs in this process."""
    monkeypatch.setattr(models, "fetched", lambda uri, trust: nullcontext((Path(uri), {"kind": CLASSIFIER.kind})))
    monkeypatch.setattr(disk, "file_digest", lambda path: path.parent.name)
    monkeypatch.setattr(predict, "_loaded", lambda model, trust: CLASSIFIER)
    monkeypatch.setattr(predict, "open_executor", lambda on, tracks: nullcontext(InTurn()))
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # garbage collection would take most of the time


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return three files: with two light images, with a dark image, and with a light image."""
    return [save(tmp_path / f"{name}.parquet", rows) for name, rows in (("a", [255, 255]), ("b", [0]), ("c", [200]))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    return tmp_path / "answers"


def save(path: Path, brightness: list[int]) -> str:
    rows = [[each] * 4 for each in brightness]
    pq.write_table(pa.table({"pixels": rows, "id": list(range(len(rows)))}), path)
    return str(path)


def answer(files: list[str], folder: Path | str, **options: Any) -> str:
    """Classify files into a folder; return the result, without the name of the folder."""
    said = Mock(spec=Reporter)
    given: dict[str, Any] = {
        "model": "abc",
        "as_json": False,
        "by_step": False,
        "column": None,
        "columns": None,
        "on": "local",
    }
    try:
        predict.predict(said, paths=files, output=str(folder), trust=False, **given | options)
    finally:
        results = [call.args[0] for call in said.result.call_args_list]
    return " ".join(results).replace(f" in {folder}", "")


def failures(files: list[str], folder: Path | str) -> str:
    with pytest.raises(DataError) as raised:
        answer(files, folder)
    return str(raised.value)


def labels(folder: Path) -> dict[str, list[str]]:
    return {file.name: pq.read_table(file)["label"].to_pylist() for file in sorted(folder.iterdir())}


ALL = {"a.parquet": ["light", "light"], "b.parquet": ["dark"], "c.parquet": ["light"]}


def test_each_file_gets_a_file_of_answers_whose_metadata_describe_it(files: list[str], folder: Path) -> None:
    assert "Wrote 4 answers to 3 files." == answer(files, folder)

    assert ALL == labels(folder)
    table = pq.read_table(folder / "a.parquet")
    assert [files[0]] * 2 == table["file"].to_pylist()
    assert [0, 1] == table["id"].to_pylist()
    about = json.loads(table.schema.metadata[b"recurrent-mlflow-pipeline"])
    version = f"{Path(files[0]).stat().st_size} bytes of {Path(files[0]).stat().st_mtime_ns}"
    assert {"input": version, "model": "abc", "column": None, "columns": None, "by_step": False} == about


def test_a_repeated_command_answers_missing_and_changed_files_and_all_with_another_model_or_column(
    files: list[str], folder: Path, tmp_path: Path
) -> None:
    answer(files, folder)
    (folder / "b.parquet").unlink()
    before = (folder / "a.parquet").stat().st_mtime_ns

    assert "Wrote 1 answers to 1 files. 2 existed." == answer(files, folder)
    assert ALL == labels(folder)
    assert before == (folder / "a.parquet").stat().st_mtime_ns
    save(tmp_path / "b.parquet", [255])
    assert "Wrote 1 answers to 1 files. 2 existed." == answer(files, folder)
    assert ["light"] == labels(folder)["b.parquet"]
    for other in ({"model": "other"}, {"column": "pixels"}):
        assert "Wrote 4 answers to 3 files." == answer(files, folder, **other)
        assert "Wrote 0 answers to 0 files. 3 existed." == answer(files, folder, **other)


def test_a_failure_affects_no_other_file_and_leaves_nothing(files: list[str], folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "b.parquet", [0, 0, 300])
    missing = str(tmp_path / "missing.parquet")

    said = failures([missing, *files], folder)

    assert said.startswith(f"2 of 4 files could not be answered. {missing}: there is no such file. {files[1]}: column ")
    assert said.endswith("column pixels, row 2: needs 2 × 2 = 4 numbers from 0 to 255; got 300.")
    assert {"a.parquet", "c.parquet"} == labels(folder).keys()


def test_a_file_that_does_not_contain_answers_is_not_replaced(files: list[str], folder: Path, tmp_path: Path) -> None:
    (folder / "a.parquet").write_text("mine")
    assert "1 of 3 files" in (said := failures(files, folder))
    assert f"{folder / 'a.parquet'}: this file does not contain answers, so it is not replaced" in said
    assert "mine" == (folder / "a.parquet").read_text()
    assert "3 of 3 files" in failures(files, tmp_path)  # next to the inputs
    assert ["pixels", "id"] == pq.read_schema(files[0]).names


def test_files_with_the_same_name_are_refused(files: list[str], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = save(tmp_path / "more" / "a.parquet", [0])
    with pytest.raises(UsageError, match="must be files with different names"):
        answer([*files, other], folder)


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0")


def names(folder: Path) -> list[str]:
    """Return the relative paths of the files that are found in a folder."""
    return [Path(file).relative_to(folder).as_posix() for file in predict.listed([str(folder)], READER)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that contains the buckets of a store."""
    buckets = tmp_path / "buckets"
    (buckets / "bucket" / "out").mkdir(parents=True)
    system, located = fs.SubTreeFileSystem(str(buckets), fs.LocalFileSystem()), predict.located

    def of_the_folder(address: str) -> tuple[fs.FileSystem, str]:
        return (system, address[5:].rstrip("/")) if address.startswith("s3://") else located(address)

    monkeypatch.setattr(predict, "located", of_the_folder)
    return buckets


def test_a_folder_of_a_store_is_its_parquet_and_idx_files(store: Path) -> None:
    put(store / "bucket", "parts/b.parquet", "parts/a.parquet", "parts/more/c-idx3-ubyte.gz", "parts/_SUCCESS", "d.png")
    expected = ["s3://bucket/parts/a.parquet", "s3://bucket/parts/b.parquet", "s3://bucket/parts/more/c-idx3-ubyte.gz"]
    assert [*expected, "s3://bucket/d.png"] == predict.listed(["s3://bucket/parts/", "s3://bucket/d.png"], READER)
    said = "must contain a picture or an IDX, Parquet or NumPy file; this folder contains none"
    with pytest.raises(DataError, match=said):
        predict.listed(["s3://bucket/out"], READER)


def test_another_store_than_amazons_is_found_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "ENDPOINT_URL": "http://[::1]:1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)

    system, path = predict.located("s3://bucket/a key/")  # otherwise it asks Amazon for the region of the bucket

    assert ("s3", "bucket/a key") == (system.type_name, path)


def test_files_go_to_a_store_and_come_from_it(store: Path) -> None:
    save(store / "bucket" / "a.parquet", [255])
    remote, missing, out = "s3://bucket/a.parquet", "s3://bucket/missing.parquet", "s3://bucket/out/"

    assert "1 of 2 files could not be answered. s3://bucket/missing.parquet: there is no such file." == failures(
        [remote, missing], out
    )
    assert [remote] == pq.read_table(store / "bucket" / "out" / "a.parquet")["file"].to_pylist()
    assert "Wrote 0 answers to 0 files. 1 existed." == answer([remote], out)
    os.utime(store / "bucket" / "a.parquet", (1, 1))  # another file of the same size
    assert "Wrote 1 answers to 1 files." == answer([remote], out)


def test_a_folder_that_cannot_be_written_to_is_named(files: list[str]) -> None:
    with pytest.raises(UsageError, match="output: cannot write to"):
        answer(files, f"{files[0]}/")


@pytest.mark.parametrize(
    ("taken", "left_out"),
    [
        ("a.png", ["._a.png", "__MACOSX/._a.png", "__MACOSX/a.png", ".DS_Store", "Thumbs.db", "sub/._b.png"]),
        ("a.png", [".unfinished-0123abcd-a.parquet", ".unfinished-0123abcd-sub/b.png"]),
        ("train-images-idx3-ubyte", ["train-labels-idx1-ubyte"]),
        ("train-images.idx3-ubyte", ["train-labels.idx1-ubyte"]),
        ("T10K-IMAGES-IDX3-UBYTE.gz", ["t10k-labels-idx1-ubyte.gz"]),
    ],
)
def test_labels_and_litter_are_left_out(tmp_path: Path, taken: str, left_out: list[str]) -> None:
    put(tmp_path, taken, *left_out)
    assert [taken] == names(tmp_path)


def test_links_are_followed_and_pipes_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "here/a.png", "elsewhere/b.png", "elsewhere/c/d.png")
    (tmp_path / "here" / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "here" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    os.mkfifo(tmp_path / "pipe.png")
    assert ["a.png", "b.png", "c/d.png"] == names(tmp_path / "here")
    with pytest.raises(DataError, match=r"(?i)pipe.png: cannot be read: .*not a directory"):
        names(tmp_path / "pipe.png")


def test_answers_in_a_folder_are_not_inputs(files: list[str], folder: Path) -> None:
    answer(files, folder)
    assert ["a.parquet", "b.parquet", "c.parquet"] == names(folder.parent)
