"""Named sets of parameter values for each cell; a parameter that is given overrides its recipe's value.

``docs/recipes.md`` says how the values were found, and how much each of them improves.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline import cells
from pipeline.errors import UsageError
from pipeline.settings import Settings, option

if TYPE_CHECKING:  # the command line imports this module, and should answer immediately
    from pipeline.data.splits import DataSet

Values = Mapping[str, object]

CUSTOM = "custom"
"""Stands for every custom cell, which gets the values tuned for the GRU, so that the two are trained alike."""

_PARTS: Values = {"schedule": "cosine", "warmup_epochs": 1.0, "clip_norm": 1.0, "ema": 0.99}
_GATED: Values = {**_PARTS, "learning_rate": 0.0025, "augmentation": "elastic", "dropout": 0.2}
_IRNN: Values = {"initializer": "identity", "activation": "relu"}  # Le, Jaitly & Hinton 2015, arXiv:1504.00941
_IRNN_ACCURATE: Values = {**_PARTS, **_IRNN, "learning_rate": 0.001, "augmentation": "affine"}

_TWO_BOTH_WAYS: Values = {"layers": 2, "direction": "bidirectional", "epochs": 100}
_DEEP: Values = {
    **_GATED,
    **_TWO_BOTH_WAYS,
    "learning_rate": 0.003,
    "batch_size": 256,
    "dropout": 0.5,
    "distortion": 1.25,
}

_SHORT: Values = {"schedule": "cosine", "warmup_epochs": 0.1, "clip_norm": 1.0}
_QUICK: Values = {**_SHORT, "epochs": 1, "learning_rate": 0.02, "hidden_units": 64}

_LONG: Values = {"steps": -1, "schedule": "cosine", "warmup_epochs": 0.5, "clip_norm": 1.0}
_LONG_GATED: Values = {**_LONG, "augmentation": "affine", "augmented": 0.5, "learning_rate": 0.01, "ema": 0.99}
_CHRONO: Values = {**_LONG_GATED, "initializer": "log-chrono", "learning_rate": 0.0075}

_SEQUENTIAL: Values = {
    "schedule": "cosine",
    "clip_norm": 1.0,
    "direction": "bidirectional",
    "jitter": 0.4,
    "label_smoothing": 0.1,
    "learning_rate": 0.005,
    "dropout": 0.5,
}

_GATES_AND_CUSTOM = ("lstm", "gru", "mgu", CUSTOM)

RECIPES: Mapping[str, Mapping[str, Values]] = {
    # The values of the TensorFlow 1 notebook that this project replaces: Adam at a constant 0.001, nothing else. On
    # MNIST's test images they reach 97.8 % (rnn) and 98.7 % (lstm, gru), in 30 epochs of 1, 5 and 4 s on two cores.
    "tutorial": {},
    # Found by tuning one forward layer of 128 units on MNIST's validation images. On its test images these values reach
    # 99.2 % (rnn), 99.5 % (lstm) and 99.4 % (gru), in 30 epochs of 1.7, 7 and 6 s on one core.
    "accurate": {"rnn": _IRNN_ACCURATE, **dict.fromkeys(_GATES_AND_CUSTOM, _GATED)},
    # Found by tuning two layers of 128 units in both directions on MNIST's validation images, for GRU and LSTM. The
    # other cells were not tuned: the MGU has the values of the GRU, and the RNN has the values of accurate. On its
    # test images they reach 99.6 % (lstm, gru), in 34 epochs of 34 s and 100 epochs of 24 s on one core.
    "deep": {
        "rnn": {**_IRNN_ACCURATE, **_TWO_BOTH_WAYS},
        **dict.fromkeys(_GATES_AND_CUSTOM, _DEEP),
        "lstm": {**_DEEP, "dropout": 0.3, "epochs": 34},
    },
    # Found by tuning the time to 97.32 % on MNIST's validation images, with one cycle of a high learning rate (Smith &
    # Topin 2018, arXiv:1708.07120). The values reach 97.6 % (rnn, 4 epochs) and 97.8 % (lstm, gru, 1 epoch) on them, in
    # 3 to 6 s of training on two cores.
    "quick": {
        "rnn": {**_SHORT, "epochs": 4, "learning_rate": 0.003, "initializer": "identity"},
        **dict.fromkeys(_GATES_AND_CUSTOM, _QUICK),
        "lstm": {**_SHORT, "epochs": 1, "learning_rate": 0.01},
    },
    # One pixel per step, so 784 on MNIST. Found by tuning on its validation images, mostly with a GRU and the permuted
    # order. Gate biases follow Tallec & Ollivier 2018, arXiv:1804.11188. An epoch of a GRU takes 105 s on one core.
    "pixels": {
        "rnn": {**_LONG, **_IRNN, "learning_rate": 0.0003},
        "lstm": _CHRONO,
        "gru": {**_CHRONO, "learning_rate": 0.015},
        "mgu": _CHRONO,
        CUSTOM: _LONG_GATED,
    },
    # For sequences, where it is the default: batches of 16 examples or more, and as many epochs as make about 1,000
    # updates. Found by tuning on parts of the training examples of JapaneseVowels, BasicMotions and GunPoint.
    "sequences": {
        "rnn": {**_SEQUENTIAL, **_IRNN, "learning_rate": 0.001, "dropout": 0.3},
        **dict.fromkeys(_GATES_AND_CUSTOM, _SEQUENTIAL),
    },
}
"""The values of each recipe by cell, :data:`CUSTOM` for a custom cell; the defaults apply to the rest."""

UPDATES = 1_000
"""Number of updates of the weights in a run with the recipe for sequences."""

WARMUP = 0.1
"""Fraction of the epochs of that recipe in which the learning rate rises."""


def resolve(given: Mapping[str, Any], data: "DataSet | None" = None) -> Settings:
    """Return checked settings: the ``given`` values, the values of the recipe, and the defaults of the rest.

    Args:
        given: values by name.
        data: the data, if it is known; it decides the default recipe and the defaults that depend on its size.

    Raises:
        UsageError: a parameter is wrong; the message names each with its required and its given value.
    """
    recipe = str(given.get("recipe", data.kind.recipe if data else Settings.recipe))
    cell = str(given.get("cell", Settings.cell))
    values = RECIPES.get(recipe, {}).get(CUSTOM if cells.is_custom(cell) else cell, {})
    settings = Settings.of({**values, **_sizes(recipe, values, given, data), "recipe": recipe, **given})
    object.__setattr__(settings, "given", dict(given))
    return settings


def fitted(settings: Settings, data: "DataSet") -> Settings:
    """Return settings whose defaults fit the data; given values stay unchanged.

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
        raise UsageError(f"recipe: {recipe} is not for {data.kind.name}. Use {option('recipe', data.kind.recipe)}.")
    batch_size = min(count, max(16, min(128, 2 ** round(math.log2(count / 32)))))
    batches = math.ceil(count / int(given.get("batch_size", batch_size)))
    epochs = int(given.get("epochs", max(1, round(UPDATES / batches))))
    return {"batch_size": batch_size, "epochs": epochs, "warmup_epochs": WARMUP * epochs}
