"""Many files to a folder of answers: what is missing is done, what is there stays, what fails fails alone."""

import json
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.execution import worker_pool
from pipeline.execution.executors import LocalExecutor, LocalFile
from pipeline.execution.worker_pool import Event, Failed, Finished, Started
from pipeline.progress import Reporter
from pipeline.serving import batch_jobs, storage
from pipeline.serving.batch_jobs import Answering, Outcome
from pipeline.serving.batches import Reading
from tests.unit.serving.test_batches import CLASSIFIER


class InTurn(LocalExecutor):
    """An executor that does jobs in this process."""

    def run(self, work: Any, jobs: Iterable[Any], *, count: int) -> Generator[Event]:
        for job in jobs:
            yield Started(job)
            kind, content = worker_pool.outcome(work, job, lambda message: True)
            yield Finished(job, content) if kind is Finished else Failed(job, content)


@pytest.fixture(autouse=True)
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_jobs, "_loaded", lambda work: CLASSIFIER)


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


WORK = Answering(model=LocalFile(Path("model")), digest="abc", trust=False, reading=Reading(), cores=1)


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
    assert {"input": storage.etag(files[0]), "model": "abc", "column": None, "by_step": False} == about


def test_repeated_it_does_what_is_missing(files: list[str], folder: Path) -> None:
    answer(files, folder)
    (folder / "b.parquet").unlink()
    before = times(folder)

    assert Outcome(answered=1, files=1, found=2) == answer(files, folder)

    assert ALL == labels(folder)
    assert before == {name: time for name, time in times(folder).items() if name != "b.parquet"}


def test_the_answers_to_another_input_are_made_anew(files: list[str], folder: Path, tmp_path: Path) -> None:
    answer(files, folder)
    save(tmp_path / "b.parquet", [255])

    assert Outcome(answered=1, files=1, found=2) == answer(files, folder)
    assert ["light"] == labels(folder)["b.parquet"]


@pytest.mark.parametrize("other", [replace(WORK, digest="other"), replace(WORK, reading=Reading(column="pixels"))])
def test_the_answers_of_another_model_or_column_are_made_anew(files: list[str], folder: Path, other: Answering) -> None:
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
    class Copy(LocalFile):
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
