"""Read tables with one row per step (Parquet or CSV): id, optional time, label, and numeric features."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.contents import RawPart, listed
from pipeline.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = b"PAR1"
"""First bytes of a Parquet file."""

MISSING = ("", "?", "NA", "NaN", "nan", "null")
"""Texts that stand for a missing number in a CSV file."""

ROW_NUMBERS = ("Unnamed: 0", "__index_level_0__")
"""Names of the column of row numbers that pandas writes; it is not a feature."""


def is_table(path: Path) -> bool:
    """Return whether a file is Parquet, or text with a comma in its first line."""
    with path.open("rb") as file:
        start = file.read(2**16)
    return start.startswith(PARQUET) or (b"\0" not in start and b"," in start.partition(b"\n")[0])


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as Parquet files do."""
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def find(folder: Path) -> dict[str, list[Path]]:
    """Return the tables ``train.*`` and, if it exists, ``test.*`` in a folder, by part; there may be none.

    Raises:
        DataError: a part exists twice, or there is only a test part.
    """
    paths = [path for path in sorted(folder.glob("t*.*")) if re.fullmatch(r"(train|test)\.(csv|parquet)", path.name)]
    found = {path.stem: [path] for path in paths}
    if len(found) < len(paths) or (found and "train" not in found):
        raise DataError(
            f"{folder}: expected one table train.csv or train.parquet, and at most one test.csv or test.parquet, "
            f"received {listed(path.name for path in paths)}."
        )
    return found


def read(files: Mapping[str, Path], columns: str | None) -> tuple[tuple[str, ...], dict[str, RawPart], list[str]]:
    """Return the names of the features, the parts, and notes.

    Args:
        files: the file of each part.
        columns: names of the columns that are not features, such as ``id=gesture,time=ms,label=class``.

    Raises:
        DataError: a file is damaged, lacks a column or a value, or has an id with two labels.
        UsageError: ``columns`` is not a list of this form.
    """
    names = column_names(columns)
    tables = {part: _read_table(path, names) for part, path in files.items()}
    values = {part: _numbers(table, names, files[part]) for part, table in tables.items()}
    features = [str(name) for name in values["train"]]
    for part, path in files.items():
        if set(values[part]) != set(features):
            raise DataError(
                f"{path}: expected the features {listed(features)} of the training part, "
                f"received {listed(values[part])}."
            )
    parts = {part: part_of(tables[part], names, values[part][features], files[part]) for part in files}
    unused = [name for name in tables["train"] if name not in (*features, *names.values())]
    notes = [f"Columns of {files['train']} that are not used as features: {listed(unused)}."] if unused else []
    return tuple(features), parts, notes


def column_names(columns: str | None) -> dict[str, str]:
    """Return the names of the columns of ids, times and labels, by role.

    Raises:
        UsageError: ``columns`` is not such a list.
    """
    names = {"id": "id", "time": "time", "label": "label"}
    for pair in columns.split(",") if columns else ():
        role, _, name = (text.strip() for text in pair.partition("="))
        if role not in names or not name:
            raise UsageError(f"columns: expected a list such as id=gesture,time=ms,label=class, received {columns!r}.")
        names[role] = name
    return names


def _read_table(path: Path, names: Mapping[str, str]) -> "pd.DataFrame":
    """Return a file as a table whose ids and labels are text, after a check that no id, label or time is missing."""
    import pandas as pd

    texts = [names["id"], names["label"]]
    try:
        if is_parquet(path):
            table = pd.read_parquet(path).reset_index(drop=True)
        else:  # a label such as NA or None is ordinary text
            types = dict.fromkeys(texts, "str")
            table = pd.read_csv(path, dtype=types, keep_default_na=False, index_col=False, low_memory=False)
    except (OSError, ValueError) as error:  # includes errors of pyarrow and pandas
        raise DataError(f"{path}: expected a whole Parquet or CSV file, received: {str(error).strip()}.") from None
    needed = texts if names["time"] == "time" else [*texts, names["time"]]
    if not set(needed) <= set(table):
        raise DataError(
            f"{path}: expected the columns {', '.join(needed)}, received {listed(table)}. "
            "Other names can be given as columns: id=…,time=…,label=…"
        )
    for name in table.columns.intersection([*names.values()]):
        missing = table[name].isna() | (table[name] == "")
        if missing.any():
            raise DataError(f"{path}, row {missing.argmax() + 1}: expected a value in column {name!r}, received none.")
    return table.astype(dict.fromkeys(texts, "str"))


def _numbers(table: "pd.DataFrame", names: Mapping[str, str], path: Path) -> "pd.DataFrame":
    """Return the features: the columns of numbers."""
    import pandas as pd

    columns = {}
    for name in table.columns.difference([*names.values(), *ROW_NUMBERS], sort=False):
        column = table[name]
        texts = column if pd.api.types.is_numeric_dtype(column) else column.astype(str)
        numbers = pd.to_numeric(texts, errors="coerce")
        wrong = numbers.isna() & column.notna() & ~texts.isin(MISSING)
        if not wrong.any():
            columns[name] = numbers
        elif not wrong.all():
            row = int(wrong.argmax())
            raise DataError(f"{path}, row {row + 1}: expected a number in column {name!r}, received {column[row]!r}.")
    if not columns:
        raise DataError(f"{path}: expected columns of numbers, received {listed(table)}.")
    return pd.DataFrame(columns)


def part_of(table: "pd.DataFrame", names: Mapping[str, str], values: "pd.DataFrame", path: Path | str) -> RawPart:
    """Return the examples of a table in the order in which their ids first appear."""
    import pandas as pd

    name, label, time = names["id"], names["label"], names["time"]
    pairs = table[[name, label]].drop_duplicates()
    twice = pairs[pairs[name].duplicated()]
    if len(twice):
        example = twice[name].iloc[0]
        received = " and ".join(pairs[label][pairs[name] == example])
        raise DataError(f"{path}, id {example}: expected one label, received {received}.")
    ordered = table.sort_values(time, kind="stable") if time in table else table
    steps = ordered.groupby(name).cumcount().sort_index()
    examples = np.full((len(pairs), steps.max() + 1 if len(steps) else 0, values.shape[1]), np.nan)
    examples[pd.factorize(table[name])[0], steps] = values.to_numpy(float, na_value=np.nan)
    return RawPart(source=str(path), examples=examples, labels=pairs[label].to_numpy(), ids=pairs[name].to_numpy())
