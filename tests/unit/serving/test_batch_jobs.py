"""Many files to a folder of answers: what is missing is done, what is there stays, what fails fails alone."""

import json
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from pipeline.errors import DataError, UsageError
from pipeline.execution import worker_pool
from pipeline.execution.worker_pool import Event, Executor, Failed, FileRef, Finished, ShouldContinue, Started
from pipeline.progress import Reporter
from pipeline.serving import batch_jobs
from pipeline.serving.batch_jobs import Answering, Outcome
from pipeline.serving.image_files import ImageFiles
from tests.unit.serving.test_answers import CLASSIFIER


class InTurn(Executor):
    """An executor that does jobs in this process."""

    def run(
        self, work: Any, jobs: Iterable[Any], *, count: int, answer: ShouldContinue = worker_pool.always
    ) -> Generator[Event]:
        for job in jobs:
            yield Started(job)
            kind, content = worker_pool.outcome(work, job, lambda message: True)
            yield Finished(job, content) if kind is Finished else Failed(job, content)


@pytest.fixture(autouse=True)
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_jobs, "_loaded", lambda work: CLASSIFIER)
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # takes longer than all else here


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return three files: of two light images, a dark one, and a light one."""
    return [save(tmp_path / f"{name}.parquet", rows) for name, rows in (("a", [255, 255]), ("b", [0]), ("c", [200]))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "answers").mkdir()
    return tmp_path / "answers"


def save(path: Path, brightness: list[int]) -> str:
    rows = [[each] * 4 for each in brightness]
    pq.write_table(pa.table({"pixels": rows, "id": list(range(len(rows)))}), path)
    return str(path)


WORK = Answering(model=FileRef(Path("model")), digest="abc")


def answer(files: list[str], folder: Path, work: Answering = WORK) -> Outcome:
    return batch_jobs.answer_all(files, str(folder), work, Reporter(), executor=InTurn(), count=1)


def labels(folder: Path) -> dict[str, list[str]]:
    return {file.name: pq.read_table(file)["label"].to_pylist() for file in sorted(folder.iterdir())}


def times(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


ALL = {"a.parquet": ["light", "light"], "b.parquet": ["dark"], "c.parquet": ["light"]}


def test_each_file_has_one_of_answers_that_says_what_it_is(files: list[str], folder: Path) -> None:
    assert Outcome(answered=4, files=3) == answer(files, folder)

    assert ALL == labels(folder)
    table = pq.read_table(folder / "a.parquet")
    assert [files[0]] * 2 == table["file"].to_pylist()
    assert [0, 1] == table["id"].to_pylist()
    about = json.loads(table.schema.metadata[b"recurrent-mlflow-pipeline"])
    version = f"{Path(files[0]).stat().st_size} bytes of {Path(files[0]).stat().st_mtime_ns}"
    assert {"input": version, "model": "abc", "column": None, "columns": None, "by_step": False} == about


def test_repeated_it_does_what_is_missing(files: list[str], folder: Path) -> None:
    answer(files, folder)
    (folder / "b.parquet").unlink()
    before = times(folder)

    assert Outcome(answered=1, files=1, found=2) == answer(files, folder)

    assert ALL == labels(folder)
    assert before == {name: time for name, time in times(folder).items() if name != "b.parquet"}


def test_the_answers_to_another_input_are_replaced(files: list[str], folder: Path, tmp_path: Path) -> None:
    answer(files, folder)
    save(tmp_path / "b.parquet", [255])

    assert Outcome(answered=1, files=1, found=2) == answer(files, folder)
    assert ["light"] == labels(folder)["b.parquet"]


@pytest.mark.parametrize("other", [replace(WORK, digest="other"), replace(WORK, column="pixels")])
def test_the_answers_of_another_model_or_column_are_replaced(files: list[str], folder: Path, other: Answering) -> None:
    answer(files, folder)
    assert Outcome(answered=4, files=3) == answer(files, folder, other)
    assert Outcome(found=3) == answer(files, folder, other)


def test_what_fails_fails_alone_and_leaves_nothing(files: list[str], folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "b.parquet", [0, 0, 300])
    missing = str(tmp_path / "missing.parquet")

    outcome = answer([missing, *files], folder)

    assert (3, 2) == (outcome.answered, outcome.files)
    assert {missing, files[1]} == outcome.failures.keys()
    assert outcome.failures[files[1]].startswith(f"{files[1]}: column pixels, row 2: expected 2 × 2 = 4 numbers")
    assert {"a.parquet", "c.parquet"} == labels(folder).keys()


def test_what_is_no_answer_is_not_replaced(files: list[str], folder: Path, tmp_path: Path) -> None:
    (folder / "a.parquet").write_text("mine")

    outcome = answer(files, folder)
    own = answer(files, tmp_path)  # beside themselves

    assert "expected answers or nothing there, received a file of something else" in outcome.failures[files[0]]
    assert "mine" == (folder / "a.parquet").read_text()
    assert set(files) == own.failures.keys()
    assert ["pixels", "id"] == pq.read_schema(files[0]).names


def test_files_of_one_name_are_refused(files: list[str], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = save(tmp_path / "more" / "a.parquet", [0])
    with pytest.raises(UsageError, match="expected files of different names"):
        answer([*files, other], folder)
    assert 3 == answer([*files, files[0]], folder).files  # the same one, twice


def test_from_another_machine_the_answers_come_back(files: list[str], folder: Path, tmp_path: Path) -> None:
    class Copy(FileRef):
        """A copy of a file, as on a machine with a disk of its own."""

        is_remote = True

        @contextmanager
        def open(self) -> Generator[Path]:
            copies = tmp_path / "elsewhere"
            copies.mkdir(exist_ok=True)
            yield Path(shutil.copy(self.path, copies))

    class Elsewhere(InTurn):
        def file_ref(self, path: Path) -> Copy:
            return Copy(path)

    work = replace(WORK, model=Copy(Path("model")))
    save(tmp_path / "b.parquet", [300])
    outcome = batch_jobs.answer_all(files, str(folder), work, Reporter(), executor=Elsewhere(), count=1)

    assert {name: rows for name, rows in ALL.items() if name != "b.parquet"} == labels(folder)
    assert [files[0]] * 2 == pq.read_table(folder / "a.parquet")["file"].to_pylist()
    assert outcome.failures[files[1]].startswith(f"{files[1]}: column pixels, row 0")


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0")


def names(folder: Path | str) -> list[str]:
    """Return the files that are taken from a folder: their addresses in a store, or their paths below it."""
    found = batch_jobs.listed([str(folder)], ImageFiles(CLASSIFIER.form))
    return [Path(file).relative_to(folder).as_posix() for file in found] if isinstance(folder, Path) else found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that holds the buckets of a store."""
    buckets = tmp_path / "buckets"
    buckets.mkdir()
    system = fs.SubTreeFileSystem(str(buckets), fs.LocalFileSystem())
    located = batch_jobs.located

    def of_the_folder(address: str) -> tuple[fs.FileSystem, str]:
        return (
            (system, address.removeprefix("s3://").rstrip("/")) if batch_jobs.is_remote(address) else located(address)
        )

    monkeypatch.setattr(batch_jobs, "located", of_the_folder)
    return buckets


def test_a_folder_of_a_store_is_its_parquet_and_idx_files(store: Path) -> None:
    for name in (
        "parts/b.parquet",
        "parts/a.parquet",
        "parts/more/c-idx3-ubyte.gz",
        "parts/_SUCCESS",
        "other/d.parquet",
    ):
        put(store / "bucket" / name)
    expected = ["s3://bucket/parts/a.parquet", "s3://bucket/parts/b.parquet", "s3://bucket/parts/more/c-idx3-ubyte.gz"]
    assert expected == names("s3://bucket/parts/")
    assert ["s3://bucket/x.parquet"] == names("s3://bucket/x.parquet")
    (store / "bucket" / "empty").mkdir()
    with pytest.raises(DataError, match="expected a folder with a picture or an IDX, Parquet or NumPy file"):
        names("s3://bucket/empty")


@pytest.mark.parametrize("name", batch_jobs.ENDPOINTS)
def test_a_store_that_is_not_amazons_is_found_by_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for each in batch_jobs.ENDPOINTS:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(fs, "S3FileSystem", lambda **options: asked.append(options))

    assert (None, "bucket/key") == batch_jobs.located("s3://bucket/key")
    assert [{"endpoint_override": "http://127.0.0.1:1"}] == asked


def test_files_go_to_a_store_and_come_from_it(store: Path, tmp_path: Path) -> None:
    (store / "bucket" / "out").mkdir(parents=True)
    save(store / "bucket" / "a.parquet", [255])
    remote, missing = "s3://bucket/a.parquet", "s3://bucket/missing.parquet"

    outcome = batch_jobs.answer_all([remote, missing], "s3://bucket/out", WORK, Reporter(), executor=InTurn(), count=1)

    assert (1, 1, 0) == (outcome.answered, outcome.files, outcome.found)
    assert "s3://bucket/missing.parquet: expected a file, found none." == outcome.failures[missing]
    assert [remote] == pq.read_table(store / "bucket" / "out" / "a.parquet")["file"].to_pylist()
    again = batch_jobs.answer_all([remote], "s3://bucket/out", WORK, Reporter(), executor=InTurn(), count=1)
    assert Outcome(found=1) == again
    os.utime(store / "bucket" / "a.parquet", (1, 1))  # another file of the same size
    changed = batch_jobs.answer_all([remote], "s3://bucket/out", WORK, Reporter(), executor=InTurn(), count=1)
    assert Outcome(answered=1, files=1) == changed


def test_a_folder_that_cannot_be_written_to_is_named(files: list[str]) -> None:
    assert files == list(answer(files, Path(files[0])).failures)
    with pytest.raises(UsageError, match="expected a folder that can be written to"):
        batch_jobs.made(files[0])


def test_litter_of_archives_and_systems_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    for name in (
        "._a.png",
        "__MACOSX/._a.png",
        "__MACOSX/a.png",
        ".DS_Store",
        "Thumbs.db",
        "sub/._b.png",
        "desktop.ini",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert ["a.png"] == names(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("T10K-IMAGES-IDX3-UBYTE.gz", "t10k-labels-idx1-ubyte.gz"),
    ],
)
def test_labels_beside_their_images_are_left_out(tmp_path: Path, images: str, labels: str) -> None:
    put(tmp_path / images)
    put(tmp_path / labels)
    assert [images] == names(tmp_path)


def test_links_to_folders_are_not_followed_and_those_to_files_are(tmp_path: Path) -> None:
    put(tmp_path / "here" / "a.png")
    put(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    assert ["a.png", "b.png"] == names(tmp_path / "here")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "locked" / "b.png")
    scan = os.scandir

    def unless_locked(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", unless_locked)
    with pytest.raises(DataError, match=r"a file or folder that can be read, received .*: Permission denied\."):
        names(tmp_path)


def test_the_users_folder_may_be_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "digits" / "a.png")
    assert [str(tmp_path / "digits" / "a.png")] == batch_jobs.listed(["~/digits"], ImageFiles(CLASSIFIER.form))


def test_answers_that_lie_in_a_folder_are_no_input(files: list[str], folder: Path) -> None:
    answer(files, folder)
    assert ["a.parquet", "b.parquet", "c.parquet"] == names(folder.parent)
