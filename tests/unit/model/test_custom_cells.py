"""Custom cells: found, validated and refused; trained to the costs of stock Keras; their answers after each step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.model import network, preflight
from pipeline.settings import Settings
from pipeline.training import identity
from tests.unit.model.test_trainer import assert_close, random_split, trainer

GOOD = """
import keras

class Sums(keras.layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x, states):
        h = keras.ops.tanh(x @ self.w) + 0.5 * states[0]
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}

class Running(keras.layers.Layer):
    def __init__(self, units, return_sequences=False, **options):
        super().__init__(**options)
        self.units, self.return_sequences = units, return_sequences

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x):
        h = keras.ops.cumsum(x @ self.w, axis=1)
        return h if self.return_sequences else h[:, -1]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "return_sequences": self.return_sequences}

class Pooled(Running):
    def call(self, x):
        h = keras.ops.cumsum(x @ self.w, axis=1)
        return h if self.return_sequences else keras.ops.mean(h, axis=1)

class Decayed(keras.layers.GRU):
    def __init__(self, units, **options):
        super().__init__(units, **options | {"kernel_regularizer": keras.regularizers.L2(0.5)})

class Quiet(keras.layers.GRU):
    def __init__(self, units, **options):
        super().__init__(units, **options | {"activity_regularizer": keras.regularizers.L2(0.5)})

class Added(keras.layers.GRU):
    def call(self, sequences, initial_state=None, **options):
        y = super().call(sequences, initial_state, **options)
        self.add_loss(0.5 * keras.ops.mean(y**2) ** 2)
        return y
"""

BAD = (
    GOOD
    + """
number = 3

class Plain:
    pass

class Sized(Sums):
    def __init__(self, units, size):
        super().__init__(units)

class Broken(Sums):
    def call(self, x, states):
        return x @ self.nothing, states

class Whole(Running):
    def call(self, x):
        return x @ self.w

class Idle(Running):
    def build(self, shape):
        super().build(shape)
        self.idle = self.add_weight(shape=(2,), name="idle")

class Forgetful(Sums):
    def __init__(self, units, scale=1):
        super().__init__(units)

    def get_config(self):
        return {"units": self.units, "colour": "red"}
"""
)
BROKEN_LINE = BAD[: BAD.index("self.nothing")].count("\n") + 1


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a folder of modules, each of which can be imported once in a process."""
    folder = tmp_path_factory.mktemp("here")
    modules = {
        "own_good": GOOD,
        "own_bad": BAD,
        "own_exits": "import sys\n\nsys.exit(3)\n",
        "own_raises": "first = 1\nsecond = first / 0\n",
        "own_breaks": "def (",
        "own_twin": "from own_good import Sums\n",
        "own_changed": GOOD + "# changed\n",
    }
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder


def settings(cell: str, **others: Any) -> Settings:
    return Settings.of({"cell": cell, "hidden_units": 4} | others)


@pytest.mark.parametrize(
    ("cell", "others"),
    [
        ("own_good:Sums", {"layers": 2}),
        ("own_good:Running", {"layers": 2}),
        ("own_good:Added", {}),
        ("keras.layers:LSTMCell", {}),
        ("own_good:Sums", {"direction": "bidirectional"}),
        ("keras.layers:LSTM", {"direction": "bidirectional"}),
    ],
)
def test_cells_and_layers_are_accepted(cell: str, others: dict[str, Any]) -> None:
    preflight.check_cells([settings(cell, **others)])


REFUSED = [
    ("own_lost:MGU", "own_lost:MGU must be in a Python file in the working directory, .* there is none"),
    ("own_good.lost:MGU", "must be in a module that Python finds; got ModuleNotFoundError"),
    ("sys:MGU", "there is none"),
    ("own_good:Sum", r"there is no class Sum in own_good\.py\. Did you mean Sums\?"),
    ("own_bad:number", r"there is no class number in own_bad\.py\."),
    ("own_bad:Plain", r"must be a cell, .* or a recurrent Keras layer, .*; got TypeError: Plain\(\) takes no arg"),
    ("keras.layers:Dense", "must be a cell, .*; got ValueError: .* `state_size`"),
    ("own_exits:MGU", r"a module that can be imported; got SystemExit: 3 \(own_exits\.py, line 3\)\."),
    ("own_raises:MGU", r"got ZeroDivisionError: division by zero \(own_raises\.py, line 2\)\."),
    ("own_breaks:MGU", r"got SyntaxError: .*own_breaks\.py, line 1"),
    ("own_bad:Sized", "made with units=4, .* got TypeError: .* missing 1 required positional argument: 'size'"),
    ("own_bad:Broken", rf"'Broken' object has no attribute 'nothing' \(own_bad\.py, line {BROKEN_LINE}\)"),
    ("own_bad:Whole", r"last output of own_bad:Whole must have the shape \(None, 4\); got \(None, 3, 4\)\."),
    ("own_bad:Idle", "every trainable weight of own_bad:Idle must affect its output; .*idle received no grad"),
    ("own_bad:Forgetful", r"own_bad:Forgetful must be a layer that can be saved and opened again \(get_config"),
]


@pytest.mark.parametrize(("cell", "message"), REFUSED)
def test_an_unusable_cell_is_refused_with_the_reason(cell: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^cell: .*{message}"):
        preflight.check_cells([settings(cell)])


def test_a_layer_that_cannot_go_backward_is_refused_in_both_directions() -> None:
    with pytest.raises(UsageError, match=r"^cell: own_good:Running must be a layer with go_backwards"):
        preflight.check_cells([settings("own_good:Running", direction="bidirectional")])


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^cells: .* got own_good:Sums and own_twin:Sums"):
        preflight.check_cells([settings("own_good:Sums"), settings("own_twin:Sums"), settings("gru")])


@pytest.mark.parametrize("name", ["own:", ":Sums", "own-cells:Sums", "own..cells:Sums", "own:Sums:2", "a/b:C"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^cell: must be 'rnn', .* or MODULE:CLASS of a custom cell, such as"):
        settings(name)


@pytest.mark.parametrize("cell", ["own_good:Decayed", "own_good:Quiet", "own_good:Added"])
def test_the_losses_of_a_cell_are_minimised_as_by_keras(cell: str) -> None:
    """One update by ``train_on_batch``, which adds a model's losses once per batch; ``cost`` is without them."""
    split = random_split(10)
    ours, stock = trainer(split, cell=cell, shards=3), trainer(split, cell=cell).model
    plain = trainer(split, cell="keras.layers:GRU")
    stock.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    ours.optimizer = keras.optimizers.SGD(0.01)  # Adam's first step would hide the size of a gradient
    stock.train_on_batch(split.examples.astype("float32"), split.labels)

    assert pytest.approx(plain.epoch(1).cost, rel=1e-5) == ours.epoch(1).cost
    assert_close(stock.get_weights(), ours.model.get_weights(), rtol=1e-7, atol=1e-6)


def saved(model: keras.Model, settings: Settings, folder: Path) -> Any:
    network.save(model, settings, Images(height=6, width=5), folder)
    return tf.saved_model.load(str(folder / "saved_model")).signatures


@pytest.mark.parametrize("cell", ["lstm", "mgu", "own_good:Sums", "own_good:Running", "keras.layers:GRU"])
def test_the_answer_after_a_step_ignores_later_steps(cell: str, tmp_path: Path) -> None:
    several = settings(cell, layers=2, order="snake", dropout=0.5)
    model = network.build(several, Images(height=6, width=5), classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 5)).astype(np.float32)

    signatures = saved(model, several, tmp_path)
    by_step = signatures["probabilities_by_step"](pixels=tf.constant(images))["probabilities_by_step"].numpy()
    final = signatures["serving_default"](pixels=tf.constant(images))["probabilities"].numpy()

    assert (2, 6, 3) == by_step.shape
    np.testing.assert_allclose(final, model(images), rtol=1e-4)
    for rows in (1, 4, 6):
        shorter = network.build(several, Images(height=rows, width=5), classes=3)
        shorter.set_weights(model.get_weights())
        np.testing.assert_allclose(by_step[:, rows - 1], shorter(images[:, :rows]), rtol=1e-4)


def test_a_layer_that_does_not_return_its_last_output_has_no_answers_by_step(tmp_path: Path) -> None:
    pooled = settings("own_good:Pooled")
    model = network.build(pooled, Images(height=6, width=5), classes=3)

    assert ["serving_default"] == list(saved(model, pooled, tmp_path))


def test_a_changed_file_changes_the_fingerprint() -> None:
    cells = ["own_good:Sums", "own_changed:Sums", "own_good:Running", "gru"]

    assert 4 == len({identity.fingerprint_of({"cell": cell}, "abc") for cell in cells})
