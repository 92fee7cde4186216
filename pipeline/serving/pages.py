"""The web page of a server for each kind of example: drawing an image, or plotting a sequence."""

import csv
import io
from math import isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.contents import listed
from pipeline.errors import DataError
from pipeline.evaluation import metrics
from pipeline.kinds.images import Images
from pipeline.kinds.sequences import Sequences
from pipeline.serving import digit_segmentation, image_files, out_of_distribution
from pipeline.tracking.classifier import Classifier

SHOWN = 100
"""Steps of a sequence after which the page shows an answer, at most."""


class Page(Protocol):
    """A page, and what it asks the server.

    Attributes:
        name: of what it sends.
        file: the page itself, in ``page/``.
        row: numbers in the innermost lists of an example as JSON.
        about: what the page has to know of the model.
    """

    name: str
    file: str
    row: int
    about: dict[str, Any]

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to what the page sends.

        Raises:
            DataError: it is not an example as the model reads it.
        """


class Drawing:
    """A page to draw on: a picture file → probabilities, and the pixels that the model saw."""

    name, file = "drawing", "drawing.html"

    def __init__(self, classifier: Classifier, kind: Images) -> None:
        self._classifier, self._kind = classifier, kind
        digit_segmentation.fit(np.eye(9, dtype=np.float32), kind)  # imports scikit-image
        self._similarity = out_of_distribution.of(classifier)
        self.row = kind.width
        self.about = {"height": kind.height, "width": kind.width, "boxed": kind.boxed, "reads_rows": self._reads_rows()}

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to a picture file."""
        pixels = image_files.read(io.BytesIO(content), name=self.name, form=self._kind)
        answer = _answer(self._classifier, pixels, most=self._kind.height)
        best = int(np.argmax(answer["probabilities"]))
        like = self._similarity.holds(pixels, best) if self._similarity else None
        return answer | {"like": like, "pixels": pixels.tolist()}

    def _reads_rows(self) -> bool:
        """Return whether the model reads row by row, from the top: until the last, its answers don't depend on it."""
        if self._classifier.step_by_step is None:
            return False
        images = np.zeros((2, *self._kind.shape), np.uint8)
        images[1, -1] = 255
        without, with_last = self._classifier.by_step(images)
        before = len(without) - len(without) // self._kind.height
        return bool(np.allclose(without[:before], with_last[:before], atol=1e-4))


class Plot:
    """A page that plots a sequence: CSV, steps × features → probabilities, and the numbers that the model read."""

    name, file = "sequence", "sequence.html"

    def __init__(self, classifier: Classifier, kind: Sequences) -> None:
        self._classifier, self._features = classifier, kind.features
        sample = kind.sample()[0] if classifier.example is None else classifier.example
        self.row = len(kind.features)
        self.about = {"features": kind.features, "sample": sample[~np.isnan(sample).all(axis=1)].tolist()}

    def answer(self, content: bytes) -> dict[str, Any]:
        """Return the answer to a sequence."""
        sequence = self._read(content)
        return _answer(self._classifier, sequence, most=SHOWN) | {"sequence": sequence.tolist()}

    def _read(self, content: bytes) -> NDArray[np.float32]:
        """Return the sequence (T, F) in CSV; a line of names may come first, and names other columns to leave out."""
        features, expected = self._features, f"sequence: expected a line of {self.row} numbers for each step, received"
        try:
            text = content.decode("utf-8-sig")
            lines = text.strip("\r\n").splitlines() or [""]
            separator = next((each for each in "\t;" if each in lines[-1]), ",")
            rows = [row for row in csv.reader(lines, delimiter=separator) if any(row)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{expected} what is not CSV in UTF-8: {error}.") from None
        if rows and not any(map(_is_number, rows[0])):
            names = [name.strip() for name in rows.pop(0)]
            if set(features) <= set(names):
                rows = [[dict(zip(names, row, strict=False)).get(name, "") for name in features] for row in rows]
        if not rows:
            raise DataError(f"{expected} none. The features are {listed(features)}.")
        for number, row in enumerate(rows, start=1):
            if len(row) != len(features) or not all(map(_is_number, row)):
                raise DataError(f"{expected} {', '.join(row)[:80]!r} for step {number}. It reads {listed(features)}.")
        return np.array(rows, np.float32)


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _answer(classifier: Classifier, example: NDArray[Any], *, most: int) -> dict[str, Any]:
    """Return the answer to an example, and, if the model has them, those after at most so many of its steps."""
    probabilities = classifier.probabilities(example[None])
    certainty = float(metrics.calibrated(probabilities, classifier.temperature).max())
    by_step = None
    if classifier.step_by_step is not None:
        answers = classifier.by_step(example[None])[0]
        steps = np.unique(np.linspace(0, len(answers), min(most, len(answers)) + 1).round().astype(int))[1:]
        by_step = {"steps": steps.tolist(), "probabilities": answers[steps - 1].round(4).tolist()}
    return {"probabilities": probabilities[0].tolist(), "certainty": certainty, "by_step": by_step}
