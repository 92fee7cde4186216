"""The file reader and web page for each kind of example; a new kind is a line here."""

from collections.abc import Mapping
from typing import Any

from pipeline.kinds.images import Images
from pipeline.kinds.kind import Kind
from pipeline.kinds.sequences import Sequences
from pipeline.serving.answers import Reader
from pipeline.serving.image_files import ImageFiles
from pipeline.serving.pages import Drawing, Page, Plot
from pipeline.serving.sequence_files import SequenceFiles
from pipeline.tracking.classifier import Classifier

KNOWN: Mapping[type[Kind], Any] = {Images: (ImageFiles, Drawing), Sequences: (SequenceFiles, Plot)}
"""By the kind, what reads its files, and its page."""


def reader(kind: Kind, *, column: str | None, columns: str | None) -> Reader:
    """Return what reads files of examples for a model.

    Args:
        kind: of the examples.
        column: of a Parquet file of images, the one that holds the pixels; None: found by its type.
        columns: of a step table, the names of the columns that are no features.

    Raises:
        UsageError: an option is not for this kind.
    """
    made: Reader = KNOWN[type(kind)][0](kind, column, columns)
    return made


def page(classifier: Classifier) -> Page:
    """Return the page for a model."""
    made: Page = KNOWN[type(classifier.kind)][1](classifier, classifier.kind)
    return made
