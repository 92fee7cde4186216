"""The content of a source in any format: labelled examples in training, test and optional validation parts.

Readers of formats return :class:`RawPart` objects; :func:`assemble` checks them and makes one :class:`Contents`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.datasets import SPLIT_SEED
from pipeline.errors import DataError

Array = NDArray[Any]

NAMES_SHOWN = 10
"""Maximum number of features, classes or columns that a message lists."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Labelled examples.

    Attributes:
        examples: sequences, float32 (N, T, F), of which shorter ones are padded with NaN at the end; or images,
            uint8 (N, H, W).
        labels: indices into the names of the classes (N,).
        ids: the name of each example in its source, or its position; () for examples of IDX files.
    """

    examples: Array
    labels: Array
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """The content of a source.

    Attributes:
        name: name of the data set for display; only letters, digits, ``_`` and ``-``.
        features: names of the F features of sequences; empty for images.
        class_names: one for each label, in natural order: numbers by value, anything else as text.
        notes: sentences for the user.
        train: the training part.
        test: the test part. Each of its classes is also in the training or the validation part.
        validation: the validation part, if the source has one.
    """

    name: str
    features: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Part
    test: Part
    validation: Part | None = None
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, Part]:
        """The existing parts by name."""
        parts = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class RawPart:
    """A part as read from its source, before any check.

    Attributes:
        source: the file or folder, for errors.
        examples: numbers (N, T, F), where NaN at the end is padding, or uint8 (N, H, W).
        labels: text labels (N,).
        ids: text ids (N,).
    """

    source: str
    examples: Array
    labels: Array
    ids: Array

    def take(self, chosen: NDArray[np.intp]) -> "RawPart":
        """Return some of the examples."""
        return replace(self, examples=self.examples[chosen], labels=self.labels[chosen], ids=self.ids[chosen])


def listed(names: Iterable[object]) -> str:
    """Return a list of names for a message, shortened if it is long."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - NAMES_SHOWN} more" if len(texts) > NAMES_SHOWN else ""
    return (", ".join(texts[:NAMES_SHOWN]) + more) or "none"


def assemble(name: str, features: tuple[str, ...], parts: Mapping[str, RawPart], notes: Sequence[str] = ()) -> Contents:
    """Return the checked contents of a source; without a test part, a fifth of the examples becomes one.

    Args:
        name: name of the data set.
        features: names of the features of sequences; empty for images.
        parts: the parts by name: ``train``, and perhaps ``validation`` and ``test``.
        notes: sentences of the reader for the user.

    Raises:
        DataError: some examples are unfit for training, or the parts do not fit together; says which and why.
    """
    class_names = classes(parts)
    if "test" not in parts:
        parts, note = _with_test_part(parts)
        notes = (*notes, note)
    _check_known(parts["test"], class_names)
    examples = {part: raw.examples for part, raw in parts.items()}
    if features:
        real = {part: checked(raw, features) for part, raw in parts.items()}
        longest = max(array.shape[1] for array in real.values())
        examples = {part: padded(array, longest) for part, array in real.items()}
        notes = (*notes, *_constant(real["train"], features))
    index = {label: number for number, label in enumerate(class_names)}
    made = {
        part: Part(
            examples=examples[part],
            labels=np.array([index[label] for label in raw.labels], np.intp),
            ids=tuple(raw.ids.tolist()),
        )
        for part, raw in parts.items()
    }
    return Contents(name=name, features=features, class_names=class_names, notes=tuple(notes), **made)


def lengths(examples: Array) -> NDArray[np.intp]:
    """Return the number of steps of each sequence (N,), up to the last step with a value."""
    real: NDArray[np.bool_] = np.asarray(~np.isnan(examples).all(axis=2))
    return np.asarray(np.where(real.any(axis=1), real.shape[1] - real[:, ::-1].argmax(axis=1), 0))


def _check_counts(part: RawPart, train: RawPart) -> None:
    """Check that a part has examples, a label for each, and as many features or pixels as the training part."""
    if not part.examples.size:
        raise DataError(f"{part.source}: expected at least one non-empty example, received none.")
    if len(part.examples) != len(part.labels):
        raise DataError(
            f"{part.source}: expected a label for each of {len(part.examples):,} examples, "
            f"received {len(part.labels):,}."
        )
    start, what = (1, "pixels") if part.examples.dtype == np.uint8 else (2, "features")
    expected, received = (" × ".join(map(str, raw.examples.shape[start:])) for raw in (train, part))
    if expected != received:
        raise DataError(f"{part.source}: expected {expected} {what} as in {train.source}, received {received}.")


def classes(parts: Mapping[str, RawPart]) -> tuple[str, ...]:
    """Return the distinct labels of the training and validation parts in natural order.

    Raises:
        DataError: a part is empty, has more or fewer labels than examples, or differs in features or sizes from the
            training part; or there is only one class.
    """
    for part in parts.values():
        _check_counts(part, parts["train"])
    names = sorted({label for part, raw in parts.items() if part != "test" for label in raw.labels.tolist()})
    if len(names) < 2:  # noqa: PLR2004 - the fewest that can be distinguished
        raise DataError(f"{parts['train'].source}: expected at least 2 classes, received only the label {names[0]!r}.")
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(names)


def _check_known(part: RawPart, class_names: tuple[str, ...]) -> None:
    unknown = ~np.isin(part.labels, class_names)
    if unknown.any():
        example = unknown.argmax()
        raise DataError(
            f"{part.source}, example {part.ids[example]}: expected a label of the training part "
            f"({listed(class_names)}), received {str(part.labels[example])!r}, which only the test part contains."
        )


def _with_test_part(parts: Mapping[str, RawPart]) -> tuple[dict[str, RawPart], str]:
    """Return the parts with a fifth of the training examples held out as the test part, and a note that says so."""
    from sklearn.model_selection import train_test_split

    whole = parts["train"]
    classes, counts = np.unique(whole.labels, return_counts=True)
    if counts.min() < 2:  # noqa: PLR2004 - one to train on, one to test on
        raise DataError(
            f"{whole.source}: expected at least 2 examples of each class, so that a fifth can be held out as the test "
            f"part; received 1 of class {str(classes[counts.argmin()])!r}. Add examples, or a test part."
        )
    held_out = max(math.ceil(len(whole.labels) / 5), len(classes))
    train, test = train_test_split(
        np.arange(len(whole.labels)), test_size=held_out, random_state=SPLIT_SEED, stratify=whole.labels
    )
    note = (
        f"{whole.source} has no test part: a fifth of the examples ({held_out:,} of {len(whole.labels):,}) is held out "
        "as the test part, drawn with a fixed seed in proportion to the classes."
    )
    return {**parts, "train": whole.take(np.sort(train)), "test": whole.take(np.sort(test))}, note


def checked(part: RawPart, features: tuple[str, ...]) -> NDArray[np.float32]:
    """Return sequences as float32, cut to the longest one, after a check that no step lacks a value."""
    with np.errstate(over="ignore"):
        examples = part.examples.astype(np.float32)
    steps = lengths(examples)
    inside = np.arange(examples.shape[1]) < np.maximum(steps, 1)[:, np.newaxis]
    wrong = np.where(np.isnan(examples), inside[..., np.newaxis], np.isinf(examples))
    if wrong.any():
        example, step, feature = np.unravel_index(wrong.argmax(), wrong.shape)
        received = part.examples[example, step, feature]
        raise DataError(
            f"{part.source}, example {part.ids[example]}: expected a finite float32 value of each feature at each of "
            f"its {steps[example]:,} steps, received {received} for {features[feature]} at step {step}, counted from "
            "0. Values may be missing only after the last step of a shorter sequence."
        )
    return examples[:, : steps.max()]


def _constant(train: Array, features: tuple[str, ...]) -> list[str]:
    """Return a sentence about the features that are constant in the training part, if there are any."""
    constant = np.nanmin(train, axis=(0, 1)) == np.nanmax(train, axis=(0, 1))
    names = [name for name, same in zip(features, constant, strict=True) if same]
    note = f"These features are constant in the training part: {listed(names)}. They carry no information."
    return [note] if names else []


def padded(examples: Array, steps: int) -> Array:
    """Return sequences (N, T, F) with NaN up to a number of steps."""
    return np.pad(examples, ((0, 0), (0, steps - examples.shape[1]), (0, 0)), constant_values=np.nan)
