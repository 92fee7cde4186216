"""Named sets of parameter values for each cell; a parameter that is given overrides its recipe's value.

How the values were found, and what each of them is worth: ``docs/recipes.md``.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline import cells
from pipeline.errors import UsageError
from pipeline.settings import Settings, option

if TYPE_CHECKING:  # the command line imports this module, and should answer immediately
    from pipeline.data.splits import DataSet

Values = Mapping[str, object]

CUSTOM = "custom"
"""Stands for every custom cell: it gets the values tuned for the GRU, so that the two are trained alike."""


class Recipe(NamedTuple):
    """A recipe.

    Attributes:
        about: where it came from, what to expect of it, and its command.
        values: by cell, :data:`CUSTOM` for a custom cell; the defaults apply to the rest.
    """

    about: str
    values: Mapping[str, Values]


_TUTORIAL = Recipe(
    about="""
    From the TensorFlow 1 notebook that this project replaces: Adam at a constant 0.001, nothing else.
    Expect, on MNIST's test images, 97.8 % (rnn) and 98.7 % (lstm, gru), in 30 epochs of 1, 5 and 4 s on two cores.
    mlflow run . --env-manager uv -P cell=gru -P recipe=tutorial
    """,
    values={},
)

_PARTS: Values = {"schedule": "cosine", "warmup_epochs": 1.0, "clip_norm": 1.0, "ema": 0.99}
_GATED: Values = {**_PARTS, "learning_rate": 0.0025, "augmentation": "elastic", "dropout": 0.2}
_IRNN: Values = {"initializer": "identity", "activation": "relu"}

_ACCURATE = Recipe(
    about="""
    From tuning one forward layer of 128 units on MNIST's validation images. The RNN is the IRNN of Le, Jaitly & Hinton
    2015, arXiv:1504.00941.
    Expect, on its test images, 99.2 % (rnn), 99.5 % (lstm) and 99.4 % (gru), 30 epochs of 1.7, 7 and 6 s of one core.
    mlflow run . --env-manager uv -P cell=gru -P recipe=accurate
    """,
    values={
        "rnn": {**_PARTS, **_IRNN, "learning_rate": 0.001, "augmentation": "affine"},
        "lstm": _GATED,
        "gru": _GATED,
        "mgu": _GATED,
        CUSTOM: _GATED,
    },
)

_TWO_BOTH_WAYS: Values = {"layers": 2, "direction": "bidirectional", "epochs": 100}
_DEEP_GATED: Values = {
    **_GATED,
    **_TWO_BOTH_WAYS,
    "learning_rate": 0.003,
    "batch_size": 256,
    "dropout": 0.5,
    "distortion": 1.25,
}

_DEEP = Recipe(
    about="""
    From tuning two layers of 128 units in both directions on MNIST's validation images, with a GRU and an LSTM. The
    other cells were not: the MGU has the values of the GRU, the RNN those of accurate.
    Expect, on its test images, 99.6 % (lstm, gru), 34 epochs of 34 s and 100 epochs of 24 s of one core.
    mlflow run . --env-manager uv -P cell=gru -P recipe=deep
    """,
    values={
        "rnn": {**_ACCURATE.values["rnn"], **_TWO_BOTH_WAYS},
        "lstm": {**_DEEP_GATED, "dropout": 0.3, "epochs": 34},
        "gru": _DEEP_GATED,
        "mgu": _DEEP_GATED,
        CUSTOM: _DEEP_GATED,
    },
)

_SHORT: Values = {"schedule": "cosine", "warmup_epochs": 0.1, "clip_norm": 1.0}

_QUICK_GRU: Values = {**_SHORT, "epochs": 1, "learning_rate": 0.02, "hidden_units": 64}

_QUICK = Recipe(
    about="""
    From tuning the time to 97.32 % of MNIST's validation images; one cycle of a high learning rate:
    Smith & Topin 2018, arXiv:1708.07120.
    Expect 97.6 % (rnn, 4 epochs) and 97.8 % (lstm, gru, 1 epoch) of them, in 3 to 6 s of training on two cores.
    mlflow run . --env-manager uv -P cell=gru -P recipe=quick
    """,
    values={
        "rnn": {**_SHORT, "epochs": 4, "learning_rate": 0.003, "initializer": "identity"},
        "lstm": {**_SHORT, "epochs": 1, "learning_rate": 0.01},
        "gru": _QUICK_GRU,
        "mgu": _QUICK_GRU,
        CUSTOM: _QUICK_GRU,
    },
)

_LONG: Values = {"steps": -1, "schedule": "cosine", "warmup_epochs": 0.5, "clip_norm": 1.0}
_HALF: Values = {"augmentation": "affine", "augmented": 0.5}
_LONG_GATED: Values = {**_LONG, **_HALF, "learning_rate": 0.01, "ema": 0.99}
_CHRONO: Values = {**_LONG_GATED, "initializer": "log-chrono", "learning_rate": 0.0075}

_PIXELS = Recipe(
    about="""
    One pixel per step, 784 on MNIST; from tuning on its validation images, most of it with a GRU and the permuted
    order. The gates' start: after Tallec & Ollivier 2018, arXiv:1804.11188. An epoch of a GRU takes one core 105 s.
    mlflow run . --env-manager uv -P cell=gru -P recipe=pixels
    """,
    values={
        "rnn": {**_LONG, **_IRNN, "learning_rate": 0.0003},
        "lstm": _CHRONO,
        "gru": {**_CHRONO, "learning_rate": 0.015},
        "mgu": _CHRONO,
        CUSTOM: _LONG_GATED,
    },
)

UPDATES = 1_000
"""Number of updates of the weights in a training of the recipe for sequences."""

WARMUP = 0.1
"""Fraction of the epochs of that recipe in which the learning rate rises."""

_SEQUENTIAL: Values = {
    "schedule": "cosine",
    "clip_norm": 1.0,
    "direction": "bidirectional",
    "jitter": 0.4,
    "label_smoothing": 0.1,
}
_SEQUENTIAL_GATED: Values = {**_SEQUENTIAL, "learning_rate": 0.005, "dropout": 0.5}

_SEQUENCES = Recipe(
    about="""
    For sequences, where it is the default: batches of 16 examples or more, and as many epochs as make about 1,000
    updates; from tuning on parts of the training examples of JapaneseVowels, BasicMotions and GunPoint. The RNN is the
    IRNN of Le, Jaitly & Hinton 2015, arXiv:1504.00941.
    mlflow run . --env-manager uv -P cell=gru -P source=gestures.parquet -P recipe=sequences
    """,
    values={
        "rnn": {**_SEQUENTIAL, **_IRNN, "learning_rate": 0.001, "dropout": 0.3},
        **dict.fromkeys(("lstm", "gru", "mgu", CUSTOM), _SEQUENTIAL_GATED),
    },
)

RECIPES: Mapping[str, Recipe] = {
    "tutorial": _TUTORIAL,
    "accurate": _ACCURATE,
    "deep": _DEEP,
    "quick": _QUICK,
    "pixels": _PIXELS,
    "sequences": _SEQUENCES,
}


def resolve(given: Mapping[str, Any], data: "DataSet | None" = None) -> Settings:
    """Return checked settings: the ``given`` values, those of the recipe, and the defaults of the rest.

    Args:
        given: values by name.
        data: where it is known: it decides the default recipe, and the defaults that depend on its size.

    Raises:
        UsageError: names each parameter that is wrong, what it expects, and what came.
    """
    recipe = str(given.get("recipe", data.kind.recipe if data else Settings.recipe))
    cell = str(given.get("cell", Settings.cell))
    values = RECIPES[recipe].values.get(CUSTOM if cells.is_custom(cell) else cell, {}) if recipe in RECIPES else {}
    settings = Settings.of({**values, **_sizes(recipe, values, given, data), "recipe": recipe, **given})
    object.__setattr__(settings, "given", dict(given))
    return settings


def fitted(settings: Settings, data: "DataSet") -> Settings:
    """Return settings whose defaults fit the data; what was given stays as it is.

    Raises:
        UsageError: the recipe is for another kind of data.
    """
    return settings if settings.given is None else resolve(settings.given, data)


def _sizes(recipe: str, values: Values, given: Mapping[str, Any], data: "DataSet | None") -> Values:
    """Return the parameters whose default depends on the number of examples."""
    if data is None:
        return {}
    count = len(data.train.labels)
    if recipe != "sequences":
        return {"batch_size": min(count, int(str(values.get("batch_size", Settings.batch_size))))}
    if data.kind.recipe != recipe:
        raise UsageError(
            f"recipe: expected one for {data.kind.name}, received {recipe}. Take {option('recipe', data.kind.recipe)}."
        )
    batch_size = min(count, max(16, min(128, 2 ** round(math.log2(count / 32)))))
    batches = math.ceil(count / int(given.get("batch_size", batch_size)))
    epochs = int(given.get("epochs", max(1, round(UPDATES / batches))))
    return {"batch_size": batch_size, "epochs": epochs, "warmup_epochs": WARMUP * epochs}
