"""The table of known kinds, by name; a new kind is a module in this package and a line here."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences

KINDS: Mapping[str, type[Kind]] = {kind.name: kind for kind in (Images, Sequences)}


def of(examples: NDArray[Any], features: Sequence[str]) -> Kind:
    """Return the kind of the training examples; images have no names of features."""
    return Sequences.of(examples, features) if features else Images.of(examples)


def restored(name: str, description: Mapping[str, Any]) -> Kind:
    """Return the kind from its name and its description.

    Raises:
        KeyError, TypeError: the name or the description is not from this package.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in description.items()}
    return KINDS[name](**values)
