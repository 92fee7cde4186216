"""Read tables with one row per step (Parquet or CSV): id, optional time, label, and numeric features."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.contents import RawPart, listed
from pipeline.errors import DataError, UsageError

if TYPE_CHECKING:  # pandas is imported only where a table is read, because most data is none
    import pandas as pd

MISSING = ("", "?", "NA", "NaN", "nan", "null")
"""Texts that stand for a missing number in a CSV file."""

ROW_NUMBERS = ("Unnamed: 0", "__index_level_0__")
"""Names of the column of row numbers that pandas writes; it is not a feature."""

Names = Mapping[str, str]
"""The names of the columns of ids, times and labels, by role."""


def find(source: Path) -> dict[str, list[Path]]:
    """Return a table, or the tables ``train.*`` and perhaps ``test.*`` in a folder; of two formats the last one."""
    if source.is_file():
        return {"train": [source]} if source.suffix in (".csv", ".parquet") else {}
    found = {
        path.stem: [path]
        for path in sorted(source.glob("t*.*"))
        if re.fullmatch(r"(train|test)\.(csv|parquet)", path.name)
    }
    return found if "train" in found else {}


def read(files: Mapping[str, Path], columns: str) -> tuple[tuple[str, ...], dict[str, RawPart], list[str]]:
    """Return the names of the features, the parts, and notes; see :func:`column_names` for ``columns``.

    Raises:
        DataError: a file is damaged, lacks a column or a value, or see :func:`part_of`.
        UsageError: ``columns`` is not a list of columns.
    """
    names = column_names(columns)
    tables = {part: read_table(path, names) for part, path in files.items()}
    features = tuple(map(str, features_of(tables["train"], names, files["train"])))
    parts = {
        part: part_of(table, names, features_of(table, names, files[part], features), files[part])
        for part, table in tables.items()
    }
    unused = tables["train"].columns.drop([*names.values(), *features], errors="ignore")
    notes = [f"Columns of {files['train']} that are not used as features: {listed(unused)}."] if len(unused) else []
    return features, parts, notes


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


def read_table(path: Path, names: Names, *, labelled: bool = True) -> "pd.DataFrame":
    """Return a file as a table whose ids and labels are text, after a check that no id, label or time is missing.

    Without ``labelled``, labels may be missing, or their column: they are then empty.

    Raises:
        DataError: the file is damaged, or lacks a column or a value.
    """
    import pandas as pd

    texts = [names["id"], names["label"]]
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path).reset_index(drop=True)
        else:  # a label such as NA or None is ordinary text
            others = pd.read_csv(path, nrows=0, index_col=False).columns.difference(texts)
            table = pd.read_csv(
                path,
                dtype=dict.fromkeys(texts, "str"),
                na_values=dict.fromkeys(others, MISSING),
                keep_default_na=False,
                index_col=False,
                low_memory=False,
            )
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
        is_missing = table[name].isna() | (table[name] == "")
        if is_missing.any():
            raise DataError(f"{path}, row {is_missing.argmax() + 1}: needs a value in column {name!r}; it has none.")
    if not labelled:
        table[names["label"]] = table[names["label"]].fillna("") if names["label"] in table else ""
    return table.astype(dict.fromkeys(texts, "str"))


def features_of(table: "pd.DataFrame", names: Names, path: Path, wanted: Sequence[str] = ()) -> "pd.DataFrame":
    """Return the features: the ``wanted`` columns, or all columns of numbers.

    Raises:
        DataError: there are none, or a wanted one is not a column of numbers.
    """
    others = table.drop(columns=[*names.values(), *ROW_NUMBERS], errors="ignore")
    values = others.select_dtypes(["number", "bool"], "timedelta")
    if values.columns.empty or not {*wanted} <= {*values}:
        needed = f"the columns of numbers {listed(wanted)}" if wanted else "columns of numbers"
        raise DataError(f"{path}: needs {needed}; of its columns {listed(table)} these have numbers: {listed(values)}.")
    return values[[*wanted]] if wanted else values


def part_of(table: "pd.DataFrame", names: Names, values: "pd.DataFrame", path: Path | str) -> RawPart:
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
