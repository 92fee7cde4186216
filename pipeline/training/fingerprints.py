"""The fingerprint of a run: a digest of everything that determines its numbers.

That is the parameters as they apply to the data, the data, and the code: the modules that split, train and score
(:data:`CODE`), all that these import of this package, the file of a custom cell, and the versions of TensorFlow
and Keras. A message in the terminal, the report's page or the server may change; the numbers do not, and neither does
the fingerprint.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version

from pipeline import cells, custom_cells, digests
from pipeline.data.splits import DataSet
from pipeline.settings import WITHOUT_EFFECT, Settings

CODE = ("data/splits.py", "evaluation/metrics.py", "kinds/known.py", "model/fit.py")
"""The modules that settle the numbers of a training."""


def parameters(settings: Settings, data: DataSet) -> dict[str, object]:
    """Return every parameter by name as it applies to ``data``.

    Raises:
        UsageError: one does not fit the data.
    """
    of_kind = data.kind.resolved(settings)
    return settings.resolved(dataset=data.name, examples=len(data.train.labels), of_kind=of_kind)


def of(settings: Settings, data: DataSet) -> str:
    """Return the fingerprint of a training: two with the same one give the same numbers on one machine."""
    return of_parameters(parameters(settings, data), data.digest)


def of_parameters(parameters: Mapping[str, object], data_digest: str) -> str:
    """Return the fingerprint of a training with these parameters on the raw data of that digest."""
    settled = {name: str(value) for name, value in sorted(parameters.items()) if name not in WITHOUT_EFFECT}
    cell = str(parameters["cell"])
    own = [custom_cells.source(cell).digest] if cells.is_custom(cell) else []
    versions = version("tensorflow"), version("keras")
    return digests.of_texts(json.dumps(settled), data_digest, digests.of_code(*CODE), *versions, *own)
