"""Sequences in files of every format, read in parts or refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.kinds.sequences import Sequences
from pipeline.serving import answers, readers
from pipeline.serving.readers import ImageFiles, SequenceFiles
from pipeline.tracking.models import Classifier

KIND = Sequences(longest=3, features=("x", "y"), mean=(0.0, 0.0), variance=(1.0, 1.0))
NAN = float("nan")
SEQUENCES = [[[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]], [[4.0, -4.0]], [[5.0, -5.0], [6.0, -6.0]]]
IDS = ["a", "b", "c"]
NONE = [None] * 3
TABLE = pd.DataFrame(
    [(name, step, *numbers) for name, steps in zip(IDS, SEQUENCES, strict=True) for step, numbers in enumerate(steps)],
    columns=["id", "time", "x", "y"],
)
LINES = "1,2,3:-1,-2,-3{0}\n4:-4{1}\n5,6:-5,-6{2}\n"


def save(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return path


def archive(path: Path, header: str, *labels: str) -> Path:
    path.write_text(f"# a comment\n@problemName it\n{header}\n@data\n" + LINES.format(*labels or ("", "", "")))
    return path


def arrays(path: Path, **more: Any) -> Path:
    padded = np.full((3, 3, 2), NAN)
    for row, steps in zip(padded, SEQUENCES, strict=True):
        row[: len(steps)] = steps
    np.savez(path, x=padded, **more)
    return path


def parts_of(path: Path, kind: Sequences = KIND, columns: str | None = None) -> list[tuple[NDArray[Any], pa.Table]]:
    return list(SequenceFiles(kind, columns=columns).parts(path, "it"))


def refused(path: Path, kind: Sequences = KIND) -> str:
    """Return why a file is not read, as its answers report it."""
    failed: dict[str, str] = {}
    list(answers.answer([("it", path)], SequenceFiles(kind), CLASSIFIER, failed, by_step=False, cores=1))
    return failed["it"]


def unpadded(parts: list[tuple[NDArray[Any], pa.Table]]) -> list[Any]:
    return [row[~np.isnan(row).all(axis=1)].tolist() for values, _ in parts for row in values]


@pytest.mark.parametrize(
    ("write", "ids", "labels"),
    [
        (lambda folder: save(TABLE, folder / "a.parquet"), IDS, ["", "", ""]),
        (lambda folder: save(TABLE.assign(label="?", other="text"), folder / "a.parquet"), IDS, ["?", "?", "?"]),
        (lambda folder: save(TABLE, folder / "a.csv"), IDS, ["", "", ""]),
        (lambda folder: save(TABLE.assign(label="NA", x=TABLE["x"].astype(int)), folder / "a.csv"), IDS, ["NA"] * 3),
        (lambda folder: save(TABLE.iloc[[2, 0, 1, 3, 5, 4]], folder / "a.csv"), IDS, ["", "", ""]),  # the times decide
        (lambda folder: archive(folder / "a.ts", "@classLabel true p q", ":p", ":?", ":q"), NONE, list("p?q")),
        (lambda folder: archive(folder / "a.ts", "@classLabel false"), NONE, ["", "", ""]),
        (lambda folder: arrays(folder / "a.npz"), NONE, ["", "", ""]),
    ],
)
def test_the_sequences_of_every_format_are_read(
    tmp_path: Path, write: Any, ids: list[str | None], labels: list[str]
) -> None:
    path = write(tmp_path)
    parts = parts_of(path)
    others = pa.concat_tables([others for _, others in parts])
    assert SEQUENCES == unpadded(parts)
    assert {"id": ids, "label": labels} == others.to_pydict()


def test_the_columns_of_a_table_may_have_other_names(tmp_path: Path) -> None:
    table = TABLE.iloc[::-1].rename(columns={"id": "gesture", "time": "ms"})
    parts = parts_of(save(table, tmp_path / "a.csv"), columns="id=gesture,time=ms")
    assert SEQUENCES[::-1] == unpadded(parts)


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="columns: is for tables of sequences; this model reads images"):
        ImageFiles(Images(height=2, width=2), columns="id=gesture")


@pytest.mark.parametrize("numbers", [2, 12, 1_000])
def test_sequences_are_whole_in_parts_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, numbers: int
) -> None:
    mixed = TABLE.iloc[[0, 3, 1, 4, 2, 5]]  # rows of different ids alternate
    monkeypatch.setattr(readers, "NUMBERS", numbers)
    assert SEQUENCES == unpadded(parts_of(save(mixed, tmp_path / "a.csv")))


def test_longer_sequences_than_in_training_are_read_in_smaller_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(300.0).reshape(5, 30, 2))
    monkeypatch.setattr(readers, "NUMBERS", 120)
    assert [2, 2, 1] == [len(values) for values, _ in parts_of(tmp_path / "a.npz")]


def test_the_endings_of_names_may_have_capitals(tmp_path: Path) -> None:
    for path in (save(TABLE, tmp_path / "A.PARQUET"), archive(tmp_path / "A.TS", "@classLabel false")):
        assert [3] == [len(values) for values, _ in parts_of(path)]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TABLE.drop(columns="y"), "it: needs the columns of numbers x, y; of its columns id, time, x"),
        (
            TABLE.drop(columns="id"),
            "it: needs the columns id; its columns are time, x, y. .* name yours with",
        ),
        (TABLE.assign(x=[1, NAN, 3, 4, 5, 6]), "it, example a: .* for x at step 1"),
        (TABLE.assign(y=[1, 2, 3, 4, np.inf, 6]), "it, example c: .* for y at step 0"),
        (
            TABLE.assign(x=["1", "2", "oops", "4", "5", "6"]),
            "it: needs the columns of numbers x, y; .* these have numbers: y",
        ),
        (TABLE.assign(id=pd.Series(["a", "a", "a", None, "c", "c"])), "it, row 4: needs a value in column 'id'"),
        (TABLE.assign(label=list("pqpppp")), "it, id a: .* p and q"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_does_not_fit_the_model_is_explained(
    tmp_path: Path, *, table: pd.DataFrame, said: str, suffix: str
) -> None:
    assert re.match(said, refused(save(table, tmp_path / f"a{suffix}")))


def test_sequences_that_do_not_fit_the_model_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", x_test=np.zeros((2, 4, 3)))
    assert "of the shape (N, steps, 2); got float64 of the shape (2, 4, 3)." in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "c.npz", x=np.zeros((2, 0, 2)))
    assert "of the shape (N, steps, 2); got float64 of the shape (2, 0, 2)." in refused(tmp_path / "c.npz")
    np.savez(tmp_path / "b.npz", one=np.zeros((2, 4, 2)), two=np.zeros(1))
    assert "it: needs an array x or x_test; it has one, two." == refused(tmp_path / "b.npz")
    monkeypatch.setattr(readers, "MOST_STEPS", 2)
    said = "it, example a: must have at most 2 steps; it has 3. Cut it into shorter sequences."
    assert said == refused(save(TABLE, tmp_path / "a.csv"))


class Sum:
    """A substitute for a loaded model of sequences: the sum of all x determines the class."""

    def predict(self, sequences: Any) -> Any:
        big = np.nansum(sequences[..., 0], axis=1) / 20
        return np.stack([1 - big, big], axis=1)


def by_step(sequences: Any) -> Any:
    big = np.nancumsum(sequences[..., 0], axis=1) / 20
    return {"probabilities_by_step": np.stack([1 - big, big], axis=2).astype(np.float32)}


CLASSIFIER = Classifier(
    Sum(),  # type: ignore[arg-type]
    dataset="sums",
    class_names=["small", "big"],
    kind=KIND,
    step_by_step=by_step,
)


@pytest.mark.parametrize("every_step", [False, True])
def test_files_of_several_formats_are_answered_together_with_ids(tmp_path: Path, *, every_step: bool) -> None:
    table = save(TABLE, tmp_path / "a.csv")
    labelled = archive(tmp_path / "b.ts", "@classLabel true p", ":p", ":p", ":p")
    files = [("a.csv", table), ("b.ts", labelled), ("lost.csv", tmp_path / "lost.csv")]
    failed: dict[str, str] = {}

    tables = [*answers.answer(files, SequenceFiles(KIND), CLASSIFIER, failed, by_step=every_step, cores=1)]

    found = pa.concat_tables(tables).to_pandas()
    assert ["lost.csv"] == [*failed]
    assert "No such file or directory" in failed["lost.csv"]
    lengths = [3, 1, 2] if every_step else [1, 1, 1]
    assert [*np.repeat(["a.csv"] * 3 + ["b.ts"] * 3, lengths * 2)] == found["file"].tolist()
    assert [*np.repeat([0, 1, 2], lengths)] * 2 == found["index"].tolist()
    assert [*np.repeat(IDS, lengths)] == found["id"].dropna().tolist()
    assert [""] * sum(lengths) + ["p"] * sum(lengths) == found["input_label"].tolist()
    if every_step:
        assert [1, 2, 3, 1, 1, 2] * 2 == found["step"].tolist()
        np.testing.assert_allclose([0.05, 0.15, 0.3, 0.2, 0.25, 0.55] * 2, found["probability_big"], atol=1e-6)
    else:
        assert ["small", "small", "big"] * 2 == found["label"].tolist()
