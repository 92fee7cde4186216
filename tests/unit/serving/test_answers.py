import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.serving import answers

ODD = {
    b"new\nline.png": ("new\nline.png", "new\\nline.png"),
    b"\x1b[31mred.png": ("\x1b[31mred.png", "\\x1b[31mred.png"),
    b"\xff\xfe.png": ("\\xff\\xfe.png", "\\xff\\xfe.png"),
    "ü 'q\".png".encode(): ("ü 'q\".png", "ü 'q\".png"),
    b"=1+1,[bold]x.png": ("=1+1,[bold]x.png", "=1+1,[bold]x.png"),
}
"""Names of files → as they are written, and as they are printed."""


@pytest.mark.parametrize("raw", ODD, ids=repr)
def test_a_name_of_any_bytes_is_text_and_does_nothing_to_a_terminal(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    assert ODD[raw] == (answers.name(path), answers.printable(path))


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_names_of_any_bytes_are_written_and_read_back(tmp_path: Path, ending: str) -> None:
    names = [answers.name(Path(os.fsdecode(raw))) for raw in ODD]
    table = answers.table(names, [0] * len(names), np.eye(5, 2, dtype=np.float32), ["a", "b"])

    with answers.written(tmp_path / f"answers{ending}") as write:
        write(table)

    file = tmp_path / f"answers{ending}"
    read = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    assert [written for written, _ in ODD.values()] == read["file"].tolist()


def test_a_name_with_a_new_line_is_printed_on_one(tmp_path: Path) -> None:
    table = answers.table(["two\nlines"], [0], np.array([[0.25, 0.75]], np.float32), ["a", "b"])
    assert "two\\nlines    b   75.00%   then a   25.00%" == answers.lines(table)
