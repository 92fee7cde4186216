"""Read files of sequences: step tables in parts of bounded memory, files of the UCR/UEA archive, NumPy arrays.

They have the formats of :mod:`pipeline.data.formats`; labels may be missing. In a step table (Parquet or CSV) the rows
of an id follow one another, so that it can be read in parts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from pipeline.data import contents, formats, step_tables
from pipeline.data.contents import RawPart, listed
from pipeline.errors import DataError, UsageError, first_line
from pipeline.kinds.kind import lengths
from pipeline.kinds.sequences import Sequences
from pipeline.serving.answers import NO_OTHERS, SIZE

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = 2**19
"""Numbers of a part at most, padding included, and of the rows of a table that are read at a time."""

MOST_STEPS = 10_000
"""Steps of a sequence that a served model takes."""


class SequenceFiles:
    """Reads files of sequences.

    Args:
        kind: of the sequences that the model reads.
        column: for images alone.
        columns: of a table, the names of the columns that are no features: ``id=…,time=…,label=…``.

    Raises:
        UsageError: there is a ``column``, or ``columns`` is not such a list.
    """

    wanted = "a step table (.parquet, .csv), a file of the UCR/UEA archive (.ts, .tsv) or NumPy arrays (.npz)"

    def __init__(self, kind: Sequences, column: str | None = None, columns: str | None = None) -> None:
        if column:
            raise UsageError(f"column: expected none for a model of sequences, received {column}. It is for pixels.")
        self.size = max(1, min(SIZE, NUMBERS // (kind.longest * len(kind.features))))
        self._features = kind.features
        self._names = step_tables.column_names(columns)

    @staticmethod
    def endings() -> tuple[str, ...]:
        """Return how the names of files end that are taken from a folder."""
        return (".parquet", ".csv", ".ts", ".tsv", ".npz")

    def columns(self, file: Path, name: str) -> pa.Schema:
        """Return the columns of an answer that a file adds: the id and the label of a table, the label of an archive.

        Raises:
            DataError: see :meth:`parts`.
        """
        if file.suffix == ".npz":
            return NO_OTHERS.schema
        given = ["label"] if file.suffix in (".ts", ".tsv") else self._given(file, name)
        return pa.schema([(role, pa.string()) for role in ("id", "label") if role in given])

    def parts(self, file: Path, name: str) -> Iterator[tuple[NDArray[Any], pa.Table]]:
        """Yield the sequences of a file in parts (n, T, F), padded with NaN at the end, with their ids and labels.

        Raises:
            DataError: the file is damaged, or a sequence is not as the model reads it; raised after the parts before.
        """
        try:
            columns = self.columns(file, name)
            for raw in self._raw(file, name):
                if raw.examples.shape[2] != len(self._features):
                    wanted = f"sequences of {len(self._features)} features ({listed(self._features)})"
                    raise DataError(f"{name}: expected {wanted}, received {raw.examples.shape[2]}.")
                values = contents.checked(raw, self._features)
                if values.shape[1] > MOST_STEPS:
                    problem = f"must have at most {MOST_STEPS:,} steps; it has {values.shape[1]:,}"
                    raise DataError(f"{raw.place(lengths(values).argmax())}: {problem}. Cut it into shorter sequences.")
                known = {"id": raw.ids, "label": raw.labels}
                yield values, pa.table([pa.array(known[each], pa.string()) for each in columns.names], columns)
        except DataError as error:
            raise DataError(str(error).replace(str(file), name)) from None

    def lengths(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """Return the number of steps of each sequence."""
        return lengths(values)

    def _raw(self, file: Path, name: str) -> Iterator[RawPart]:
        """Yield the sequences of a file as it holds them."""
        if file.suffix in (".ts", ".tsv", ".npz"):
            is_array = file.suffix == ".npz"
            raw = formats.read_array(file) if is_array else formats.read_archive(file, labelled=False)
            for first in range(0, len(raw.examples), self.size):
                yield raw.take(np.arange(first, min(first + self.size, len(raw.examples))))
            return
        import pandas as pd

        seen: set[str] = set()
        rest: pd.DataFrame | None = None
        for block in self._blocks(file, name):
            rows = pd.concat([rest, block], ignore_index=True)
            last = int(self._starts(rows)[-1])  # its id may go on in the next block
            yield from self._whole(rows[:last], seen, name)
            rest = rows[last:]
            if len(rest) > MOST_STEPS:
                break
        if rest is not None:
            yield from self._whole(rest, seen, name)

    def _starts(self, rows: "pd.DataFrame") -> NDArray[np.intp]:
        """Return the numbers of the rows at which another id begins."""
        ids = rows[self._names["id"]].to_numpy()
        return np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))

    def _whole(self, rows: "pd.DataFrame", seen: set[str], name: str) -> Iterator[RawPart]:
        """Yield the sequences of rows that hold all steps of their ids; add the ids to those seen before."""
        if not len(rows):
            return
        rows = rows.reset_index(drop=True)
        starts = self._starts(rows)
        ids = rows[self._names["id"]].iloc[starts]
        again = ids[ids.isin(seen) | ids.duplicated()]
        if len(again):
            column = self._names["id"]
            raise DataError(
                f"{name}, id {again.iloc[0]}: expected the rows of an id one after another, received other ids in "
                f"between. Sort the table by {column}."
            )
        seen.update(ids)
        ends = np.append(starts[1:], len(rows))
        size = max(1, min(SIZE, NUMBERS // int((ends - starts).max() * len(self._features))))
        for first in range(0, len(starts), size):
            some = rows[starts[first] : ends[min(first + size, len(starts)) - 1]].reset_index(drop=True)
            yield step_tables.part_of(some, self._names, some[[*self._features]], name)

    def _given(self, file: Path, name: str) -> dict[str, str]:
        """Return the columns that a table has of ids, times and labels, by role.

        Raises:
            DataError: it is not a table, or has no ids or not all features.
        """
        import pandas as pd

        try:
            is_parquet = step_tables.is_parquet(file)
            found = pa.parquet.read_schema(file).names if is_parquet else [*pd.read_csv(file, nrows=0, index_col=False)]
        except (ValueError, pa.ArrowException) as error:
            raise DataError(f"{name}: expected {self.wanted}, received: {first_line(error)}.") from None
        given = {role: column for role, column in self._names.items() if column in found}
        needed = [self._names["id"], *self._features]
        if not set(needed) <= set(found):
            raise DataError(
                f"{name}: expected the columns {listed(needed)}, which the model reads, received {listed(found)}. "
                "Other names of the id can be given as columns: id=…,time=…,label=…"
            )
        return given

    def _blocks(self, file: Path, name: str) -> Iterator["pd.DataFrame"]:
        """Yield the rows of a table in blocks: ids and labels as texts, features as numbers.

        Raises:
            DataError: it is damaged, or holds something else than a number.
        """
        import pandas as pd

        given, rows = self._given(file, name), max(1, NUMBERS // len(self._features))
        columns = [*given.values(), *self._features]
        types = {given[role]: "str" for role in ("id", "label") if role in given} | dict.fromkeys(self._features, "f8")
        missing = dict.fromkeys(self._features, step_tables.MISSING)
        options: Any = {"usecols": columns, "dtype": types, "na_values": missing, "keep_default_na": False}
        try:
            if step_tables.is_parquet(file):
                with pa.parquet.ParquetFile(file, pre_buffer=False) as opened:
                    for batch in opened.iter_batches(rows, columns=columns):
                        yield self._present(batch.to_pandas().astype(types), name)
            else:
                with pd.read_csv(file, chunksize=rows, index_col=False, **options) as blocks:
                    for block in blocks:
                        yield self._present(block, name)
        except (ValueError, pa.ArrowException) as error:
            raise DataError(
                f"{name}: expected numbers in the columns of features, received: {first_line(error)}."
            ) from None

    def _present(self, rows: "pd.DataFrame", name: str) -> "pd.DataFrame":
        """Return rows that have an id each; those of a table without labels get an empty one."""
        column = rows[self._names["id"]]
        if (column.isna() | (column == "")).any():
            raise DataError(f"{name}: expected a value in column {self._names['id']!r} of each row, received none.")
        return rows if self._names["label"] in rows else rows.assign(**{self._names["label"]: ""})
