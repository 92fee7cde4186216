"""Pictures, files of arrays and tables, classified by the models of real runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import stored
from pipeline.data.datasets import encode_idx
from pipeline.execution.executors import Executor
from pipeline.settings import DataSettings
from pipeline.tracking import models
from tests.integration.conftest import Command, one_line

COLUMNS = ["file", "index", "label", "probability", "runner_up", "runner_up_probability"]


@pytest.fixture(scope="module")
def model(digits_run: str) -> str:
    return f"runs:/{digits_run}/model"


@pytest.fixture(scope="module")
def images(digits_run: str) -> NDArray[np.uint8]:
    return np.asarray(stored.find(DataSettings(dataset="digits")).test.examples)


@pytest.fixture(scope="module")
def probabilities(model: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(models.load(model).model.predict(images.astype(np.float32)))


@pytest.fixture
def pictures(images: NDArray[np.uint8], tmp_path: Path) -> Path:
    """Return a folder with the first three images, one of them in a subfolder, and a text file."""
    (tmp_path / "digits" / "more").mkdir(parents=True)
    for name, image in zip(("0.png", "1.png", "more/2.png"), images, strict=False):
        Image.fromarray(image).save(tmp_path / "digits" / name)
    (tmp_path / "digits" / "notes.txt").write_text("not a picture, and not called one")
    return tmp_path / "digits"


def check(table: pd.DataFrame, probabilities: NDArray[Any]) -> None:
    """Compare the answers with the probabilities of MLflow in this process."""
    by_rank, rows = np.argsort(-probabilities, axis=1), np.arange(len(probabilities))
    assert table.columns.tolist() == COLUMNS
    for place, name in enumerate(("label", "runner_up")):
        column = "probability" if name == "label" else "runner_up_probability"
        assert table[name].astype(int).tolist() == by_rank[:, place].tolist()
        np.testing.assert_allclose(table[column], probabilities[rows, by_rank[:, place]], atol=1e-5)


def test_a_line_says_label_probability_and_runner_up_and_the_number_within_a_file(
    command: Command, model: str, images: NDArray[np.uint8], pictures: Path, probabilities: NDArray[Any]
) -> None:
    path = pictures / "images-idx3-ubyte"
    path.write_bytes(encode_idx(images[:3]))
    first, second = np.sort(probabilities[0])[:-3:-1]
    one, two = np.argsort(-probabilities[0])[:2]

    lines = command("predict", pictures / "0.png", path, "--model", model).output.splitlines()

    answer = [str(one), f"{first:.2%}", "then", str(two), f"{second:.2%}"]
    assert [[str(pictures / "0.png"), *answer], [str(path), "0", *answer]] == [line.split() for line in lines[:2]]
    assert [f"{path} {number} " for number in range(3)] == [line[: len(f"{path} 0 ")] for line in lines[1:]]


def test_a_folder_is_answered_in_order_with_its_subfolders(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any], tmp_path: Path
) -> None:
    command("predict", pictures, "--model", model, "--output", tmp_path / "answers.csv")
    table = pd.read_csv(tmp_path / "answers.csv")
    assert ["0.png", "1.png", "2.png"] == [Path(file).name for file in table["file"]]
    check(table, probabilities[:3])

    command("predict", pictures, "--model", model, "--by-step", "--output", tmp_path / "steps.csv")
    steps, named = pd.read_csv(tmp_path / "steps.csv"), [f"probability_{digit}" for digit in range(10)]
    assert ["file", "index", "step", "label", *named] == steps.columns.tolist()
    assert [*range(1, 9)] * 3 == steps["step"].tolist()
    np.testing.assert_allclose(steps[named].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(steps[named][7::8], probabilities[:3], atol=1e-5)  # after the last step
    assert steps[named].to_numpy().argmax(axis=1).tolist() == steps["label"].astype(int).tolist()


def test_unreadable_files_are_named_aside_and_the_answers_to_the_others_are_one_array_of_json(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any], tmp_path: Path
) -> None:
    (pictures / "0a.png").write_text("hello")
    (pictures / "0b-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\1\0\0\0\2\0\0\0\2abcd")

    result = command("predict", pictures, tmp_path / "missing.png", "--model", model, "--json", exit_code=1)

    check(pd.DataFrame(json.loads(result.stdout)), probabilities[:3])
    assert "3 of 6 files could not be answered" in result.stderr
    for said in (
        "0a.png: must be a picture",
        "0b-ubyte: pixels: must be numbers from 0 to 255 of the shape (N, 8, 8); got uint8 of the shape (1, 2, 2)",
        "missing.png: cannot be read",
    ):
        assert said in result.stderr
    assert "Traceback" not in result.stderr
    nothing = command("predict", pictures / "0a.png", "--model", model, "--json", exit_code=1)
    assert [] == json.loads(nothing.stdout)


def save_parquet(path: Path, images: NDArray[Any], *, first: int = 0) -> None:
    """Write images as flat lists with numbers from ``first``, in row groups of 100."""
    flat = pa.array(images.reshape(len(images), -1).tolist(), pa.list_(pa.uint8()))
    table = pa.table({"id": range(first, first + len(images)), "pixels": flat, "label": ["?"] * len(images)})
    pq.write_table(table, path, row_group_size=100)


def test_a_folder_of_parts_is_answered_file_by_file(
    *,
    command: Command,
    model: str,
    images: NDArray[np.uint8],
    probabilities: NDArray[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Executor, "default_workers", lambda *_: 1)  # one new process takes long enough
    parts, folder = tmp_path / "parts", tmp_path / "answers"
    parts.mkdir()
    for number, start in enumerate((0, 150)):
        save_parquet(parts / f"{number}.parquet", images[start : start + 150], first=start)
    save_parquet(parts / "2.parquet", images[:, 1:])

    said = one_line(command("predict", parts, "--model", model, "--output", f"{folder}/", exit_code=1))

    assert f"{parts / '2.parquet'}: column pixels, row 0: needs 8 × 8 = 64 numbers" in said
    assert "1 of 3 files could not be answered" in said
    assert ["0.parquet", "1.parquet"] == sorted(file.name for file in folder.iterdir())
    table = pd.concat([pd.read_parquet(folder / f"{number}.parquet") for number in range(2)])
    assert [*range(300)] == table.pop("id").tolist()
    check(table.drop(columns="input_label"), probabilities[:300])


def test_a_table_of_steps_is_answered_by_id_and_by_step(
    command: Command, forward_model: str, gestures: Path, tmp_path: Path
) -> None:
    expected = pd.read_parquet(gestures).groupby("id", sort=False)["label"].first()
    for option, name in (((), "a.parquet"), (("--by-step",), "b.parquet")):
        command("predict", gestures, "--model", forward_model, *option, "--output", tmp_path / name)

    answers, steps = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in "ab")
    assert (expected.index.tolist(), expected.tolist()) == (answers["id"].tolist(), answers["input_label"].tolist())
    assert (answers["label"] == answers["input_label"]).mean() > 0.9
    assert pd.read_parquet(gestures)["id"].tolist() == steps["id"].tolist()
    last = steps.groupby("id", sort=False).last()
    np.testing.assert_allclose(answers["probability"], last.filter(like="probability_").max(axis=1), atol=1e-5)
    assert answers["label"].tolist() == last["label"].tolist()


@pytest.mark.parametrize(
    ("file", "options", "exit_code", "said"),
    [
        ("empty", [], 1, "must contain a picture or an IDX, Parquet or NumPy file"),
        ("digits", ["--model", "models:/nobody@champion"], 1, "model: 'models:/nobody@champion' could not be loaded. "),
        ("digits", ["--model", "nonsense"], 1, "model: 'nonsense' could not be loaded. "),
        ("digits", ["--by-step"], 2, "by_step: needs an --output"),
        (
            "digits",
            ["--output", "answers.txt"],
            2,
            "output: must be a folder, or a file name that ends in .csv or .parquet",
        ),
        ("digits", ["--output", "nowhere/answers.csv"], 2, "output: cannot write to nowhere/answers.csv: No such file"),
        (
            "digits",
            ["--output", "digits/notes.txt/a.csv"],
            2,
            "cannot write to digits/notes.txt/a.csv: Not a directory.",
        ),
        (
            "part.parquet",
            ["--json", "--output", "answers/"],
            2,
            "json, output: only one of the two can be given; got both.",
        ),
        (
            "part.parquet",
            ["--on", "ray"],
            2,
            "output: must be a folder such as answers/ with --on or s3://; got none.",
        ),
        (
            "part.parquet",
            ["--on", "spark", "--output", "answers/"],
            2,
            "on: must be local, ray or an address such as ray://HOST:10001",
        ),
        (
            "part.parquet",
            ["--column", "image"],
            1,
            "needs a column 'image' of pixels, as lists; its columns are id (int64), pixels (",
        ),
        ("steps", ["--column", "pixels"], 2, "column: is for models of images; this model reads sequences"),
        ("steps", ["--columns", "id=gesture"], 1, "needs the columns gesture; its columns are id, label, x, y"),
        ("steps", ["--columns", "gesture"], 2, "id=gesture,time=ms,label=class"),
    ],
)
def test_wrong_options_and_files_are_explained(
    command: Command,
    *,
    model: str,
    forward_model: str,
    gestures: Path,
    pictures: Path,
    images: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    options: list[str],
    exit_code: int,
    said: str,
) -> None:
    monkeypatch.chdir(pictures.parent)
    Path("empty").mkdir()
    save_parquet(Path("part.parquet"), images[:1])
    given = [gestures, "--model", forward_model] if file == "steps" else [file, "--model", model]

    result = command("predict", *given, *options, exit_code=exit_code)

    assert said in one_line(result)
    assert "Traceback" not in result.output
