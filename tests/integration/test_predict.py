"""Pictures and IDX files, answered by the models of real runs."""

import gzip
import json
import runpy
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import idx, processed
from pipeline.settings import DataSettings
from pipeline.tracking import classifier as classifiers
from tests.integration.conftest import PROJECT, Command, Training

COLUMNS = ["file", "index", "label", "probability", "runner_up", "runner_up_probability"]


@pytest.fixture(scope="module")
def model(digits_run: Training) -> str:
    return f"runs:/{digits_run.run_id}/model"


@pytest.fixture(scope="module")
def images(digits_run: Training) -> NDArray[np.uint8]:
    return np.asarray(processed.find(DataSettings(dataset="digits")).test.examples)


@pytest.fixture(scope="module")
def probabilities(model: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(classifiers.load(model).model.predict(images.astype(np.float32)))


@pytest.fixture
def pictures(images: NDArray[np.uint8], tmp_path: Path) -> Path:
    """Return a folder of the first three images, one of them in a folder below it, and a text."""
    (tmp_path / "digits" / "more").mkdir(parents=True)
    for name, image in zip(("0.png", "1.png", "more/2.png"), images, strict=False):
        Image.fromarray(image).save(tmp_path / "digits" / name)
    (tmp_path / "digits" / "notes.txt").write_text("not a picture, and not called one")
    return tmp_path / "digits"


def check(table: pd.DataFrame, probabilities: NDArray[Any]) -> None:
    """Check the answers against the probabilities that MLflow gives in this process."""
    by_rank, rows = np.argsort(-probabilities, axis=1), np.arange(len(probabilities))
    assert table.columns.tolist() == COLUMNS
    assert table["label"].astype(int).tolist() == by_rank[:, 0].tolist()
    assert table["runner_up"].astype(int).tolist() == by_rank[:, 1].tolist()
    np.testing.assert_allclose(table["probability"], probabilities[rows, by_rank[:, 0]], atol=1e-5)
    np.testing.assert_allclose(table["runner_up_probability"], probabilities[rows, by_rank[:, 1]], atol=1e-5)


def test_a_line_says_label_probability_and_runner_up(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any]
) -> None:
    first, second = np.sort(probabilities[0])[:-3:-1]
    one, two = np.argsort(-probabilities[0])[:2]

    line = command("predict", pictures / "0.png", "--model", model).output

    assert [str(one), f"{first:.2%}", "then", str(two), f"{second:.2%}"] == line.split()[1:]


def test_a_folder_is_answered_in_order_with_what_is_below_it(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any], tmp_path: Path
) -> None:
    command("predict", pictures, "--model", model, "--output", tmp_path / "answers.csv")

    table = pd.read_csv(tmp_path / "answers.csv")
    assert ["0.png", "1.png", "2.png"] == [Path(file).name for file in table["file"]]
    check(table, probabilities[:3])


def test_the_answers_as_json_are_one_array_and_all_else_is_aside(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any]
) -> None:
    (pictures / "broken.png").write_bytes(b"no picture")

    result = command("predict", pictures, "--model", model, "--json", exit_code=1)

    check(pd.DataFrame(json.loads(result.stdout)), probabilities[:3])
    assert "broken.png" in result.stderr
    nothing = command("predict", pictures / "broken.png", "--model", model, "--json", exit_code=1)
    assert [] == json.loads(nothing.stdout)
    both = command("predict", pictures, "--model", model, "--json", "--output", pictures / "a.csv", exit_code=2)
    assert "json, output: expected one of the two, received both." in both.stderr


def test_an_idx_file_is_answered_image_by_image(
    command: Command, model: str, images: NDArray[np.uint8], probabilities: NDArray[Any], tmp_path: Path
) -> None:
    path, output = tmp_path / "images-idx3-ubyte", tmp_path / "answers.parquet"
    path.write_bytes(gzip.compress(idx.encode(images)))

    command("predict", path, "--model", model, "--output", output)

    table = pd.read_parquet(output)
    assert list(range(len(images))) == table["index"].tolist()
    assert {str(path)} == set(table["file"])
    check(table, probabilities)
    assert [path, output] == sorted(tmp_path.iterdir())[::-1]  # nothing under another name is left


def test_the_images_of_an_idx_file_are_printed_with_their_numbers(
    command: Command, model: str, images: NDArray[np.uint8], pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(idx.encode(images[:3]))

    lines = command("predict", path, pictures / "0.png", "--model", model).output.splitlines()

    assert [f"{path} 0 ", f"{path} 1 ", f"{path} 2 ", f"{pictures / '0.png'}   "] == [
        line[: len(f"{file} 0 ")] for line, file in zip(lines, [path] * 3 + [pictures / "0.png"], strict=True)
    ]


def test_what_cannot_be_read_is_named_and_the_others_are_answered(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any], tmp_path: Path
) -> None:
    (pictures / "0a.png").write_text("hello")
    (pictures / "0b-ubyte").write_bytes(b"\0\0\x08\x03\0\0\0\1\0\0\0\2\0\0\0\2abcd")
    missing = tmp_path / "missing.png"

    output = command(
        "predict", pictures, missing, "--model", model, "--output", tmp_path / "answers.parquet", exit_code=1
    ).output

    assert "3 of 6 files not answered" in output
    for said in ("0a.png: expected a picture", "0b-ubyte: expected images of 8 × 8 pixels", "missing.png: expected"):
        assert said in output
    assert "Traceback" not in output
    check(pd.read_parquet(tmp_path / "answers.parquet"), probabilities[:3])


@pytest.mark.parametrize(
    ("name", "model_given", "output", "exit_code", "said"),
    [
        ("empty", None, None, 1, "expected a folder with a picture or an IDX, Parquet or NumPy file"),
        ("digits", "models:/nobody@champion", None, 1, "model: expected the address of a model"),
        ("digits", "nonsense", None, 1, "model: expected the address of a model"),
        ("digits", None, "answers.txt", 2, "output: expected a file name that ends in .csv or .parquet"),
        ("digits", None, "nowhere/answers.csv", 2, "output: expected a file that can be written"),
        ("digits", None, "digits/notes.txt/answers.csv", 2, "output: expected a file that can be written"),
        ("digits", None, f"{'a' * 300}.csv", 2, "output: expected a file that can be written"),
    ],
)
def test_what_cannot_be_done_is_named(
    command: Command,
    model: str,
    pictures: Path,
    tmp_path: Path,
    *,
    name: str,
    model_given: str | None,
    output: str | None,
    exit_code: int,
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    options = ["--output", tmp_path / output] if output else []

    result = command("predict", tmp_path / name, "--model", model_given or model, *options, exit_code=exit_code)

    assert said in result.output
    assert "Traceback" not in result.output


def test_a_model_of_others_is_refused(command: Command, pictures: Path, digits_run: Training) -> None:
    class Other(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:
            return model_input

    with mlflow.start_run():
        other = mlflow.pyfunc.log_model(name="other", python_model=Other(), pip_requirements=[])

    result = command("predict", pictures, "--model", other.model_uri, exit_code=2)

    assert "model: expected a classifier that this pipeline trained" in result.output


def test_the_accuracy_on_mnists_test_images_as_png_files_is_the_runs(
    command: Command, mnist_champion: str, mnist_folder: Path, tmp_path: Path
) -> None:
    test = [
        gzip.decompress((mnist_folder / f"t10k-{kind}-ubyte.gz").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    ]
    images, labels = (idx.read(content, name="test") for content in test)
    (tmp_path / "png").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "png" / f"{number:05}.png")

    command("predict", tmp_path / "png", "--model", "models:/mnist@champion", "--output", tmp_path / "answers.csv")

    right = pd.read_csv(tmp_path / "answers.csv")["label"].to_numpy() == labels
    assert mlflow.get_run(mnist_champion).data.metrics["test_accuracy"] == right.mean()


SAMPLES = {"7.png": "7", "blackboard/2.png": "2", "photo-of-a-3.jpg": "3"}


def test_the_samples_are_answered_rightly(command: Command, mnist_champion: str) -> None:
    said = command("predict", PROJECT / "samples", "--model", "models:/mnist@champion", "--json").stdout

    answers = {Path(row["file"]).relative_to(PROJECT / "samples").as_posix(): row["label"] for row in json.loads(said)}
    assert SAMPLES == answers


PICTURES = runpy.run_path(str(PROJECT / "benchmarks" / "pictures.py"))


@pytest.mark.parametrize("kind", PICTURES["KINDS"])
def test_pictures_of_every_kind_are_answered_about_as_well_as_the_images_they_are_made_of(
    mnist_champion: str, kind: str
) -> None:
    images, labels = (array[:40] for array in PICTURES["test_images"]())
    classifier = classifiers.load("models:/mnist@champion")
    own = float((classifier.probabilities(images).argmax(axis=1) == labels).mean())

    assert PICTURES["right"](kind, images, labels, classifier) >= own - 0.08


def test_the_brightness_of_the_data_decides_whatever_it_is_called(
    command: Command, mnist_folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "dark-on-light"
    source.mkdir()
    for part, count in (("train", 12_000), ("t10k", 500)):
        for kind in ("images-idx3", "labels-idx1"):
            content = gzip.decompress((mnist_folder / f"{part}-{kind}-ubyte.gz").read_bytes())
            array = idx.read(content, name=part)[:count]
            (source / f"{part}-{kind}-ubyte").write_bytes(idx.encode(array if array.ndim == 1 else 255 - array))
    command(
        "run", "--source", source, "--epochs", 2, "--hidden-units", 48, "--batch-size", 32, "--register", "inverted"
    )
    classifier = classifiers.load("models:/inverted@champion")
    images, labels = (array[:80] for array in PICTURES["test_images"]())

    right = {
        kind: PICTURES["right"](kind, images, labels, classifier) for kind in PICTURES["KINDS"] if "any size" in kind
    }
    own = float((classifier.probabilities(255 - images).argmax(axis=1) == labels).mean())

    assert classifier.dataset.startswith("custom-")
    assert min(right.values()) >= own - 0.06
    assert own > 0.8


def test_the_answers_after_each_step_end_with_the_answer(
    command: Command, model: str, pictures: Path, probabilities: NDArray[Any], tmp_path: Path
) -> None:
    command("predict", pictures, "--model", model, "--by-step", "--output", tmp_path / "steps.csv")

    table, named = pd.read_csv(tmp_path / "steps.csv"), [f"probability_{digit}" for digit in range(10)]
    assert ["file", "index", "step", "label", *named] == table.columns.tolist()
    assert [*range(1, 9)] * 3 == table["step"].tolist()
    np.testing.assert_allclose(table[named].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(table[named][7::8], probabilities[:3], atol=1e-5)
    assert table[named].to_numpy().argmax(axis=1).tolist() == table["label"].astype(int).tolist()


def test_by_step_needs_a_file_and_a_model_that_tells(command: Command, model: str, pictures: Path) -> None:
    result = command("predict", pictures, "--model", model, "--by-step", exit_code=2)

    assert "by_step: expected an --output" in result.output


def save_parquet(path: Path, images: NDArray[Any], *, kind: pa.DataType, first: int = 0) -> Path:
    """Write images as rows of a flat list, each with a number of its own, in row groups of 100."""
    flat = pa.array(images.reshape(len(images), -1).tolist(), kind)
    table = pa.table({"id": range(first, first + len(images)), "pixels": flat, "label": ["?"] * len(images)})
    pq.write_table(table, path, row_group_size=100)
    return path


def test_a_folder_of_parts_is_answered_file_by_file(
    command: Command, model: str, images: NDArray[np.uint8], probabilities: NDArray[Any], tmp_path: Path
) -> None:
    parts, folder = tmp_path / "parts", tmp_path / "answers"
    parts.mkdir()
    for number, start in enumerate((0, 150)):
        save_parquet(parts / f"{number}.parquet", images[start : start + 150], kind=pa.list_(pa.uint8()), first=start)
    save_parquet(parts / "2.parquet", images[:, 1:], kind=pa.list_(pa.uint8()))

    said = command("predict", parts, "--model", model, "--output", f"{folder}/", exit_code=1).output

    assert f"{parts / '2.parquet'}: column pixels, row 0: expected 8 × 8 = 64 numbers" in " ".join(said.split())
    assert "1 of 3 files not answered" in said
    assert ["0.parquet", "1.parquet"] == sorted(file.name for file in folder.iterdir())
    table = pd.concat([pd.read_parquet(folder / f"{number}.parquet") for number in range(2)])
    assert [*range(300)] == table.pop("id").tolist()
    check(table.drop(columns="input_label"), probabilities[:300])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--on", "ray"), "output: expected, on ray, a folder such as answers/, received none."),
        (("--on", "spark", "--output", "answers/"), "on: expected local, ray or an address such as ray://HOST:10001"),
        (("--json", "--output", "answers/"), "json, output: expected one of the two, received both."),
        (
            ("--column", "image"),
            "expected a column 'image' of lists of numbers, the pixels, received the columns id (int64), pixels (",
        ),
    ],
)
def test_what_cannot_be_done_with_parts_is_named(
    command: Command, model: str, images: NDArray[np.uint8], tmp_path: Path, *, options: tuple[str, ...], said: str
) -> None:
    path = save_parquet(tmp_path / "part.parquet", images[:1], kind=pa.list_(pa.uint8()))
    result = command("predict", path, "--model", model, *options, exit_code=1 if "--column" in options else 2)
    assert said in " ".join(result.output.split())


def test_a_table_of_steps_is_answered_by_id(
    command: Command, forward_model: str, gestures: Path, tmp_path: Path
) -> None:
    expected = pd.read_parquet(gestures).groupby("id", sort=False)["label"].first()

    command("predict", gestures, "--model", forward_model, "--output", tmp_path / "answers.csv")

    table = pd.read_csv(tmp_path / "answers.csv")
    assert expected.index.tolist() == table["id"].tolist()
    assert expected.tolist() == table["input_label"].tolist()
    assert (table["label"] == table["input_label"]).mean() > 0.9


def test_the_answers_after_each_step_of_a_sequence_end_with_the_answer(
    command: Command, forward_model: str, gestures: Path, tmp_path: Path
) -> None:
    table = pd.read_parquet(gestures).drop(columns="label")
    table.to_csv(tmp_path / "steps.csv", index=False)
    for option, name in (((), "a.parquet"), (("--by-step",), "b.parquet")):
        command("predict", tmp_path / "steps.csv", "--model", forward_model, *option, "--output", tmp_path / name)

    answers, steps = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in "ab")
    assert table["id"].tolist() == steps["id"].tolist()
    last = steps.groupby("id", sort=False).last()
    np.testing.assert_allclose(answers["probability"], last.filter(like="probability_").max(axis=1), atol=1e-5)
    assert answers["label"].tolist() == last["label"].tolist()


@pytest.mark.parametrize(
    ("options", "exit_code", "said"),
    [
        (("--column", "pixels"), 2, "column: expected none for a model of sequences"),
        (("--columns", "id=gesture"), 1, "expected the columns gesture, x, y, which the model reads"),
        (("--columns", "gesture"), 2, "columns: expected a list such as id=gesture,time=ms,label=class"),
    ],
)
def test_options_that_do_not_fit_a_model_of_sequences_are_explained(
    command: Command, forward_model: str, gestures: Path, *, options: tuple[str, ...], exit_code: int, said: str
) -> None:
    result = command("predict", gestures, "--model", forward_model, *options, exit_code=exit_code)
    assert said in " ".join(result.output.split())
