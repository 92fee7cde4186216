"""Read files of sequences: step tables, files of the UCR/UEA archive, NumPy arrays.

They have the formats of :mod:`pipeline.data.formats`; labels may be missing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.data import contents, formats, step_tables
from pipeline.data.contents import RawPart, listed
from pipeline.errors import DataError, UsageError
from pipeline.kinds.kind import lengths
from pipeline.kinds.sequences import Sequences
from pipeline.serving.answers import SIZE

NUMBERS = 2**19
"""Maximum numbers in a part whose sequences are as long as the training sequences."""

MOST_STEPS = 10_000
"""Maximum steps of a sequence: ``MOST_STEPS`` of a served model, whose code this package cannot import."""

COLUMNS = pa.schema([("id", pa.string()), ("label", pa.string())])
"""The id and the label of a sequence; null and an empty text if its file has none."""


class SequenceFiles:
    """Reads files of sequences.

    Args:
        kind: the kind of the model's sequences.
        column: only for images.
        columns: names of a table's columns that are not features: ``id=…,time=…,label=…``.

    Raises:
        UsageError: there is a ``column``, or ``columns`` is not such a list.
    """

    wanted = "a step table (.parquet, .csv), a file of the UCR/UEA archive (.ts, .tsv) or NumPy arrays (.npz)"
    endings: tuple[str, ...] = (".parquet", ".csv", ".ts", ".tsv", ".npz")

    def __init__(self, kind: Sequences, column: str | None = None, columns: str | None = None) -> None:
        if column:
            raise UsageError(f"column: is for models of images; this model reads sequences. Leave out {column!r}.")
        self.size = max(1, min(SIZE, NUMBERS // (kind.longest * len(kind.features))))
        self._features = kind.features
        self._names = step_tables.column_names(columns)

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the sequences of a file in parts (n, T, F), padded with NaN at the end, with their ids and labels.

        Raises:
            DataError: the file is damaged, or a sequence does not fit the model; raised after the parts before.
        """
        for raw in self._raw(file, name):
            if raw.examples.shape[2] != len(self._features):
                raise DataError(
                    f"{name}: must have sequences of {len(self._features)} features ({listed(self._features)}); "
                    f"got {raw.examples.shape[2]}."
                )
            values = contents.checked(raw, self._features)
            if values.shape[1] > MOST_STEPS:
                problem = f"must have at most {MOST_STEPS:,} steps; it has {values.shape[1]:,}"
                raise DataError(f"{raw.place(lengths(values).argmax())}: {problem}. Cut it into shorter sequences.")
            ids = [None] * len(values) if raw.ids is None else raw.ids
            yield values, pa.table([pa.array(each, pa.string()) for each in (ids, raw.labels)], COLUMNS)

    def _raw(self, file: Path, name: str) -> Iterator[RawPart]:
        """Yield the sequences of a file, unchecked.

        Raises:
            DataError: the file is damaged, or lacks a feature.
        """
        if file.suffix in (".ts", ".tsv", ".npz"):
            is_array = file.suffix == ".npz"
            raw = formats.read_array(file) if is_array else formats.read_archive(file, labelled=False)
            for first in range(0, len(raw.examples), self.size):
                yield raw.take(np.arange(first, min(first + self.size, len(raw.examples))))
            return
        table, features = step_tables.read_table(file, self._names, labelled=False), [*self._features]
        if not set(features) <= set(table):
            problem = f"needs the columns {listed(features)}, which the model reads; its columns are {listed(table)}"
            raise DataError(f"{name}: {problem}.")
        values = step_tables.numbers(table[features], self._names, file)
        for _, rows in table.groupby(table[self._names["id"]].factorize()[0] // self.size):
            yield step_tables.part_of(rows, self._names, values.reindex(rows.index, columns=features), name)
