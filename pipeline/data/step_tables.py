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


def find(source: Path) -> dict[str, list[Path]]:
    """Return a table, or the tables ``train.*`` and, if it exists, ``test.*`` in a folder, by part; there may be none.

    Raises:
        DataError: a part exists twice, or there is only a test part.
    """
    if source.is_file():
        return {"train": [source]} if is_table(source) else {}
    paths = [path for path in sorted(source.glob("t*.*")) if re.fullmatch(r"(train|test)\.(csv|parquet)", path.name)]
    found = {path.stem: [path] for path in paths}
    if len(found) < len(paths) or (found and "train" not in found):
        raise DataError(
            f"{source}: must have one table train.csv or train.parquet, and at most one test.csv or test.parquet; "
            f"it has {listed(path.name for path in paths)}."
        )
    return found


def read(files: Mapping[str, Path], columns: str | None) -> tuple[tuple[str, ...], dict[str, RawPart], list[str]]:
    """Return the names of the features, the parts, and notes.

    Args:
        files: the file of each part.
        columns: names of the columns that are not features, such as ``id=gesture,time=ms,label=class``.

    Raises:
        DataError: a file is damaged, lacks a column or a value, has an id with two labels, or two rows of an id with
            the same time.
        UsageError: ``columns`` is not a list of this form.
    """
    names = column_names(columns)
    tables = {part: read_table(path, names) for part, path in files.items()}
    values = {part: numbers(table, names, files[part]) for part, table in tables.items()}
    features = [str(name) for name in values["train"]]
    for part, path in files.items():
        if set(values[part]) != set(features):
            raise DataError(
                f"{path}: must have the features {listed(features)} of the training part; "
                f"it has {listed(values[part])}."
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
            raise UsageError(f"columns: must be a list such as id=gesture,time=ms,label=class; got {columns!r}.")
        names[role] = name
    return names


def read_table(path: Path, names: Mapping[str, str], *, labelled: bool = True) -> "pd.DataFrame":
    """Return a file as a table whose ids and labels are text, after a check that no id, label or time is missing.

    Without ``labelled``, labels may be missing, or their column: they are then empty.

    Raises:
        DataError: the file is damaged, or lacks a column or a value.
    """
    import pandas as pd

    texts = [names["id"], names["label"]]
    try:
        if is_parquet(path):
            table = pd.read_parquet(path).reset_index(drop=True)
        else:  # a label such as NA or None is ordinary text
            types = dict.fromkeys(texts, "str")
            table = pd.read_csv(path, dtype=types, keep_default_na=False, index_col=False, low_memory=False)
    except (OSError, ValueError) as error:  # includes errors of pyarrow and pandas
        raise DataError(f"{path}: must be a whole Parquet or CSV file; reading failed: {str(error).strip()}.") from None
    known = texts[: 1 + labelled]
    needed = known if names["time"] == "time" else [*known, names["time"]]
    if not set(needed) <= set(table):
        raise DataError(
            f"{path}: needs the columns {listed(needed)}; its columns are {listed(table)}. Rename them, or name yours "
            "with the parameter columns, such as id=NAME,label=NAME."
        )
    for name in table.columns.intersection([*known, names["time"]]):
        missing = table[name].isna() | (table[name] == "")
        if missing.any():
            raise DataError(f"{path}, row {missing.argmax() + 1}: needs a value in column {name!r}; it has none.")
    if not labelled:
        table[names["label"]] = table[names["label"]].fillna("") if names["label"] in table else ""
    return table.astype(dict.fromkeys(texts, "str"))


def numbers(table: "pd.DataFrame", names: Mapping[str, str], path: Path) -> "pd.DataFrame":
    """Return the features: the columns in which at least one value is a number, and no value is another text.

    Raises:
        DataError: there are none, or only some values of a column are numbers.
    """
    import pandas as pd

    given = table.drop(columns=[*names.values(), *ROW_NUMBERS], errors="ignore")
    texts = given.astype(dict.fromkeys(given.select_dtypes(exclude=["number", "bool"]), "str"))
    values = texts.apply(pd.to_numeric, errors="coerce")
    wrong = values.isna() & given.notna() & ~texts.isin(MISSING)
    features: pd.DataFrame = values.loc[:, ~wrong.all() | ~wrong.any()]
    if features.columns.empty:
        raise DataError(f"{path}: needs columns of numbers; its columns are {listed(table)}.")
    for name, is_wrong in wrong[features.columns].items():
        if is_wrong.any():
            row = int(is_wrong.argmax())
            raise DataError(
                f"{path}, row {row + 1}: must have a number in column {name!r}; got {texts[name].iloc[row]!r}."
            )
    return features


def part_of(table: "pd.DataFrame", names: Mapping[str, str], values: "pd.DataFrame", path: Path | str) -> RawPart:
    """Return the examples of a table in the order in which their ids first appear.

    Raises:
        DataError: an id has two labels, or two rows with the same time.
    """
    import pandas as pd

    name, label, time = names["id"], names["label"], names["time"]
    pairs = table[[name, label]].drop_duplicates()
    several = pairs[pairs.duplicated(name, keep=False)].groupby(name, sort=False)[label].agg(" and ".join)
    if len(several):
        raise DataError(f"{path}, id {several.index[0]}: must have one label; it has {several.iloc[0]}.")
    again = table[table.duplicated([name, time])] if time in table else table[:0]
    if len(again):
        raise DataError(
            f"{path}, id {again[name].iloc[0]}: must have one row for each time; it has several for "
            f"{again[time].iloc[0]}. Remove rows, or name another column as time."
        )
    ordered = table.sort_values(time, kind="stable") if time in table else table
    steps = ordered.groupby(name).cumcount().sort_index()
    examples = np.full((len(pairs), steps.max() + 1 if len(steps) else 0, values.shape[1]), np.nan)
    examples[pd.factorize(table[name])[0], steps] = values.to_numpy(float, na_value=np.nan)
    return RawPart(source=str(path), examples=examples, labels=pairs[label].to_numpy(), ids=pairs[name].to_numpy())
