"""Read files of sequences: step tables in parts of bounded memory, files of the UCR/UEA archive, NumPy arrays.

They have the formats of :mod:`pipeline.data.formats`; labels may be missing. In a step table (Parquet or CSV) the rows
of an id follow one another, so that it can be read in parts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
from numpy.typing import NDArray

from pipeline.data import contents, formats, step_tables
from pipeline.data.contents import RawPart, listed
from pipeline.errors import DataError, UsageError
from pipeline.kinds.kind import lengths
from pipeline.kinds.sequences import Sequences
from pipeline.serving.answers import SIZE

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = 2**19
"""Maximum numbers in a part whose sequences are as long as the training sequences, and in a block of rows."""

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

    def columns(self, file: Path, name: str) -> pa.Schema:
        """Return the columns of answers in addition to the answers: the id and the label of each sequence."""
        return COLUMNS

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
        """Yield the sequences of a file, unchecked."""
        if file.suffix in (".ts", ".tsv", ".npz"):
            is_array = file.suffix == ".npz"
            raw = formats.read_array(file) if is_array else formats.read_archive(file, labelled=False)
            for first in range(0, len(raw.examples), self.size):
                yield raw.take(np.arange(first, min(first + self.size, len(raw.examples))))
            return
        for rows in self._whole(file, name):
            yield step_tables.part_of(rows, self._names, rows[[*self._features]], name)

    def _whole(self, file: Path, name: str) -> Iterator["pd.DataFrame"]:
        """Yield the rows of a table in parts that contain all steps of their ids.

        Raises:
            DataError: rows of an id are not consecutive.
        """
        import pandas as pd

        column, rest = self._names["id"], pd.DataFrame()
        seen: set[str] = set()
        for block in filter(len, self._blocks(file, name)):
            rest = pd.concat([rest, block], ignore_index=True)
            ids = rest[column]
            number = (ids != ids.shift()).cumsum()
            starts = ids[~number.duplicated()]
            again = starts[starts.isin(seen) | starts.duplicated()]
            if len(again):
                raise DataError(
                    f"{name}, id {again.iloc[0]}: its rows must be consecutive; other ids are between them. Sort the "
                    f"table by {column}."
                )
            is_whole = number < number.iloc[-1]  # rows of the last id may follow in the next block
            seen.update(ids[is_whole])
            for _, rows in rest[is_whole].groupby(number[is_whole] // self.size):
                yield rows
            rest = rest[~is_whole]
        if len(rest):
            yield rest

    def _blocks(self, file: Path, name: str) -> Iterator["pd.DataFrame"]:
        """Yield the rows of a table in blocks: ids and labels as texts, features as numbers.

        Raises:
            DataError: it is damaged, lacks a column or an id, or a feature is not a number.
        """
        names, field, needed = self._names, pa.dataset.field, [self._names["id"], *self._features]
        types = {names["id"]: pa.string(), names["label"]: pa.string()} | dict.fromkeys(self._features, pa.float64())
        csv = pa.csv.ConvertOptions(column_types=types, null_values=step_tables.MISSING, strings_can_be_null=False)
        kind = (
            pa.dataset.ParquetFileFormat()
            if step_tables.is_parquet(file)
            else pa.dataset.CsvFileFormat(convert_options=csv)
        )
        table = pa.dataset.dataset(str(file), format=kind)
        found = table.schema.names
        if not set(needed) <= set(found):
            raise DataError(
                f"{name}: needs the columns {listed(needed)}, which the model reads; its columns are {listed(found)}. "
                "Other names of the id can be given as columns: id=…,time=…,label=…"
            )
        read = {each: field(each).cast(types[each]) for each in types if each in found}
        read |= {each: field(each) for each in [names["time"]] if each in found}
        size = max(1, NUMBERS // len(self._features))
        for batch in table.to_batches(columns=read, batch_size=size, batch_readahead=0, use_threads=False):
            rows = batch.to_pandas()
            if (rows[names["id"]].fillna("") == "").any():
                raise DataError(f"{name}: needs a value in column {names['id']!r} of each row.")
            yield rows if names["label"] in rows else rows.assign(**{names["label"]: ""})
