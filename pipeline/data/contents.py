"""The content of a source in any format: labelled examples in training, test and optional validation parts.

Readers of formats return :class:`RawPart` objects; :func:`assemble` checks them and makes one :class:`Contents`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import disk
from pipeline.data.splits import Split, hold_out
from pipeline.errors import DataError
from pipeline.kinds.kind import lengths

Array = NDArray[Any]

NAMES_SHOWN = 10
"""Maximum number of features, classes or columns that a message lists."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """The content of a source.

    Attributes:
        name: only letters, digits, ``_`` and ``-``; it ends in 8 digits of the digest if the data is not published.
        digest: digest of all content, 64 hexadecimal digits.
        class_names: one for each label, in natural order (numbers by value, other labels as text).
        features: names of the F features of sequences; empty for images.
        notes: sentences for the user.
        parts: ``train``, ``test`` and perhaps ``validation``, whose arrays are stored; empty if there are files.
        files: IDX files by name, which are stored as they are.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    features: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    parts: Mapping[str, Split] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class RawPart(Split):
    """A part as read from its source, before any check: labels are texts, and sequences may lack values.

    Attributes:
        source: the file or folder, for errors.
        ids: text ids (N,); None if there are none: their positions.
        lines: the line of each example in its file (N,), if it has one.
    """

    source: str
    lines: Array | None = None

    def place(self, example: int | np.intp) -> str:
        """Return where an example is, for errors."""
        what, names = ("example", self.ids) if self.lines is None else ("line", self.lines)
        return f"{self.source}, {what} {example if names is None else names[example]}"


def listed(names: Iterable[object]) -> str:
    """Return a list of names for a message, shortened if it is long."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - NAMES_SHOWN} more" if len(texts) > NAMES_SHOWN else ""
    return (", ".join(texts[:NAMES_SHOWN]) + more) or "none"


def assemble(name: str, features: tuple[str, ...], parts: Mapping[str, RawPart], notes: Iterable[str] = ()) -> Contents:
    """Return the checked contents of a source; without a test part, a fifth of the examples becomes one.

    Args:
        name: name of the data set, without its digest.
        features: names of the features of sequences; empty for images.
        parts: the parts by name: ``train``, and perhaps ``validation`` and ``test``.
        notes: sentences of the reader for the user.

    Raises:
        DataError: some examples are unfit for training, or the parts do not fit together.
    """
    class_names = classes(parts)
    if "test" not in parts:
        parts, note = _with_test_part(parts)
        notes = (*notes, note)
    _check_known(parts["test"], class_names)
    examples = {part: checked(raw, features) if features else raw.examples for part, raw in parts.items()}
    if features:
        longest = max(array.shape[1] for array in examples.values())
        examples = {part: padded(array, longest) for part, array in examples.items()}
    index = {label: number for number, label in enumerate(class_names)}
    made = {
        part: Split(
            examples=examples[part],
            labels=np.array([index[label] for label in raw.labels], np.int32),
            ids=np.array([str(each) for each in (range(len(raw.labels)) if raw.ids is None else raw.ids)]),
        )
        for part in ("train", "test", "validation")
        if (raw := parts.get(part))
    }
    arrays = [_digest(array) for split in made.values() for array in vars(split).values()]
    digest, notes = disk.text_digest(*features, *class_names, *arrays), tuple(notes)
    name = f"{name}-{digest[: disk.SHORT]}"
    return Contents(name=name, digest=digest, class_names=class_names, features=features, notes=notes, parts=made)


def _digest(array: Array) -> str:
    """Return the digest of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def classes(parts: Mapping[str, RawPart]) -> tuple[str, ...]:
    """Return the distinct labels of the training and validation parts in natural order.

    Raises:
        DataError: a part is empty, has more or fewer labels than examples, or differs in features or sizes from the
            training part; or there is only one class.
    """
    for part in parts.values():
        _check_counts(part, parts["train"])
    names = sorted({str(label) for part, raw in parts.items() if part != "test" for label in raw.labels.tolist()})
    if len(names) < 2:  # noqa: PLR2004 - the fewest that can be distinguished
        raise DataError(
            f"{parts['train'].source}: must have at least 2 classes; got only the label {names[0]!r}. "
            "Add examples of another class."
        )
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def _check_counts(part: RawPart, train: RawPart) -> None:
    """Check that a part has examples, a label for each, and as many features or pixels as the training part."""
    count, shape = len(part.examples), part.examples.shape
    if not part.examples.size:
        raise DataError(f"{part.source}: needs at least one example, of at least one pixel or step; got none.")
    if count != len(part.labels):
        raise DataError(f"{part.source}: needs a label for each of {count:,} examples; got {len(part.labels):,}.")
    start, what = (1, "pixels") if part.examples.dtype == np.uint8 else (2, "features")
    if shape[start:] != train.examples.shape[start:]:
        needed, found = (" × ".join(map(str, each[start:])) for each in (train.examples.shape, shape))
        raise DataError(f"{part.source}: must have {needed} {what} like {train.source}; got {found}.")


def _check_known(test: RawPart, class_names: tuple[str, ...]) -> None:
    """Check that each label of the test part is one of the classes."""
    unknown = ~np.isin(test.labels, class_names)
    if unknown.any():
        raise DataError(
            f"{test.place(unknown.argmax())}: must have a label of the training part ({listed(class_names)}); "
            f"got {str(test.labels[unknown.argmax()])!r}. Add training examples of it, or remove these examples."
        )


def _with_test_part(parts: Mapping[str, RawPart]) -> tuple[dict[str, RawPart], str]:
    """Return the parts with a fifth of the training examples held out as the test part, and a note about it."""
    whole = parts["train"]
    train, test = hold_out(np.unique(whole.labels, return_inverse=True)[1], fraction=1 / 5)
    note = (
        f"{whole.source} has no test part: a fifth of the examples ({len(test):,} of {len(whole.labels):,}) is held "
        "out as the test part, drawn with a fixed seed in proportion to the classes."
    )
    return {**parts, "train": whole.take(train), "test": whole.take(test)}, note


def checked(part: RawPart, features: tuple[str, ...]) -> NDArray[np.float32]:
    """Return sequences as float32, cut to the longest one, after a check that no step lacks a value.

    Raises:
        DataError: a value is missing before the end of its sequence, or infinite as float32.
    """
    with np.errstate(over="ignore"):
        examples = part.examples.astype(np.float32)
    steps = lengths(examples)
    inside = np.arange(examples.shape[1]) < np.maximum(steps, 1)[:, np.newaxis]
    wrong = np.where(np.isnan(examples), inside[..., np.newaxis], np.isinf(examples))
    if wrong.any():
        example, step, feature = np.unravel_index(wrong.argmax(), wrong.shape)
        raise DataError(
            f"{part.place(example)}: must have a finite float32 value of each feature at each of its "
            f"{steps[example]:,} steps; got {part.examples[example, step, feature]} for {features[feature]} at step "
            f"{step}, counted from 0. Values may be missing only after the last step of a shorter sequence."
        )
    return examples[:, : steps.max()]


def padded(examples: Array, steps: int) -> Array:
    """Return sequences (N, T, F) with NaN up to a number of steps."""
    return np.pad(examples, ((0, 0), (0, steps - examples.shape[1]), (0, 0)), constant_values=np.nan)
