"""A cell of one's own: found, tried and refused; and the costs it trains to, against Keras's own layer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import custom_cells
from pipeline.errors import UsageError
from pipeline.model import network
from pipeline.model.fit import Fit
from pipeline.settings import Settings
from pipeline.training import fingerprints, preflight
from tests.unit.model.test_trainer import costs, random_split, trainer

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
"""

HEEDLESS = """
from own_good import Running

class Last(Running):
    def __init__(self, units, return_sequences=False, **options):
        super().__init__(units, return_sequences, **options)
        self.whole = return_sequences

    def call(self, x):
        h = super().call(x)
        return h if self.whole else h[:, -1] if self.return_sequences else h
"""

BAD = (
    GOOD
    + """
class Plain:
    pass

number = 3

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

class Backward(keras.layers.SimpleRNN):
    def call(self, sequences, initial_state=None, **options):
        return super().call(sequences[:, ::-1] if self.go_backwards else sequences, **options)
"""
)


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a folder of modules, each of which can be imported once in a process."""
    folder = tmp_path_factory.mktemp("here")
    modules = {
        "own_good": GOOD,
        "own_heedless": HEEDLESS,
        "own_bad": BAD,
        "own_exits": "import sys\n\nsys.exit(3)\n",
        "own_raises": "first = 1\nsecond = first / 0\n",
        "own_breaks": "def (",
        "own_prints": "print('hello')\nfrom own_good import Sums\n",
        "own_twin": "from own_good import Sums\n",
    }
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder


def settings(cell: str, **others: Any) -> Settings:
    return Settings.of({"cell": cell, "hidden_units": 4} | others)


@pytest.mark.parametrize("cell", ["own_good:Sums", "own_good:Running", "keras.layers:GRU", "keras.layers:LSTMCell"])
def test_a_cell_and_a_layer_do(cell: str) -> None:
    preflight.check([settings(cell, layers=2)])


@pytest.mark.parametrize("cell", ["own_good:Sums", "keras.layers:LSTM"])
def test_a_cell_and_a_layer_that_reads_backward_do_in_both_directions(cell: str) -> None:
    preflight.check([settings(cell, direction="bidirectional")])


def test_a_cell_of_the_table_is_not_tried() -> None:
    preflight.check([settings("gru", hidden_units=8192)])


REFUSED = [
    ("own_lost:MGU", r"expected own_lost:MGU to name a module in the working directory, .*, found no such module\. "),
    ("own_good.lost:MGU", "to be a module that is found, received ModuleNotFoundError"),
    ("sys:MGU", "found one without a file"),
    ("own_good:Sum", r"expected a class Sum in own_good\.py, found none\. Did you mean own_good:Sums\?"),
    ("own_bad:number", "expected a class number in own_bad.py, found something else, of type int"),
    ("own_bad:Plain", "to be a recurrent layer of Keras, .* received a class that is none of Keras's layers"),
    ("keras.layers:Dense", "received one that takes no return_sequences, as a layer does, and has no state_size"),
    ("own_exits:MGU", r"a module that can be imported, received SystemExit: 3 \(own_exits\.py, line 3\)\."),
    ("own_raises:MGU", r"received ZeroDivisionError: division by zero \(own_raises\.py, line 2\)\."),
    ("own_breaks:MGU", r"received SyntaxError: .*own_breaks\.py, line 1"),
    ("own_bad:Sized", "made with units=4, received TypeError: .* missing 1 required positional argument: 'size'"),
    ("own_bad:Broken", r"received AttributeError: 'Broken' object has no attribute 'nothing' \(own_bad\.py, line 45\)"),
    ("own_bad:Whole", r"whose last output is of the shape \(None, 4\), received \(None, 3, 4\)\."),
    ("own_bad:Idle", "every trainable weight .* to have an effect on its output, received .* all but .*idle"),
    ("own_bad:Forgetful", r"expected own_bad:Forgetful to be saved and opened again \(its get_config"),
]


@pytest.mark.parametrize(("cell", "message"), REFUSED)
def test_what_does_not_do_is_refused_and_says_why(cell: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^cell: .*{message}"):
        preflight.check([settings(cell)])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("own_good:Running", "^cell: expected own_good:Running to be a layer with go_backwards"),
        ("own_bad:Backward", "^direction: .* its go_backwards does not make it read the last step first"),
    ],
)
def test_a_layer_that_cannot_go_backward_is_refused_in_both_directions(cell: str, message: str) -> None:
    preflight.check([settings(cell)])
    with pytest.raises(UsageError, match=message):
        preflight.check([settings(cell, direction="bidirectional")])


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^cells: .* received own_good:Sums and own_twin:Sums"):
        preflight.check([settings("own_good:Sums"), settings("own_twin:Sums"), settings("gru")])


def test_what_a_module_prints_stays_out_of_what_a_command_answers(capfd: pytest.CaptureFixture[str]) -> None:
    custom_cells.load("own_prints:Sums")

    assert ("", "hello\n") == tuple(capfd.readouterr())


@pytest.mark.parametrize("name", ["own:", ":Sums", "own-cells:Sums", "own..cells:Sums", "own:Sums:2", "a/b:C"])
def test_what_is_no_name_of_a_cell_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^cell: expected 'rnn', .* or MODULE:CLASS of a cell of your own, such as"):
        settings(name)


def test_keras_own_layer_trains_to_the_costs_of_the_built_in_cell() -> None:
    """The built-in one is computed by other code, and drawn from the same seed."""
    own, ours = (costs(trainer(cell=cell, shards=3)) for cell in ("keras.layers:GRU", "gru"))

    np.testing.assert_allclose(own, ours, rtol=1e-4)


def test_a_training_goes_on_to_the_numbers_of_one_that_was_not_cut_off() -> None:
    def fit() -> Fit:
        return Fit(trainer(random_split(40), cell="own_good:Sums", ema=0.9, dropout=0.2))

    whole, first, second = fit(), fit(), fit()
    expected = [record.cost for record in whole.epochs(4)]
    list(first.epochs(2))
    second.restore(first.snapshot())
    list(second.epochs(4))

    assert expected == [record.cost for record in second.history]


def test_the_graph_that_is_served_answers_as_the_network_does(tmp_path: Path) -> None:
    model = network.build(settings("own_good:Sums", layers=2), height=6, width=5, classes=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5)).astype(np.float32)

    network.save(model, tmp_path, fast=False)

    classify = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(classify(pixels=images)["probabilities"].numpy(), model(images), rtol=1e-5)


def by_step(model: keras.Model, folder: Path) -> Any:
    """Return the signature that answers after each step, of the graph that is served; None where it has none."""
    network.save(model, folder, fast=False)
    return tf.saved_model.load(str(folder / "saved_model")).signatures.get("probabilities_by_step")


@pytest.mark.parametrize("cell", ["own_good:Sums", "own_good:Running", "keras.layers:GRU"])
def test_the_answer_after_each_step_is_that_of_a_network_that_reads_no_further(cell: str, tmp_path: Path) -> None:
    several = settings(cell, layers=2, order="snake", dropout=0.5)
    model = network.build(several, height=6, width=5, classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 5)).astype(np.float32)

    actual = by_step(model, tmp_path)(pixels=tf.constant(images))["probabilities_by_step"].numpy()

    assert (2, 6, 3) == actual.shape
    for rows in range(1, 7):
        shorter = network.build(several, height=rows, width=5, classes=3)
        shorter.set_weights(model.get_weights())
        np.testing.assert_allclose(actual[:, rows - 1], shorter(images[:, :rows]), rtol=1e-4)


def test_a_layer_that_heeds_return_sequences_when_it_is_made_alone_has_no_answers_on_the_way(tmp_path: Path) -> None:
    preflight.check([settings("own_heedless:Last")])

    assert by_step(network.build(settings("own_heedless:Last"), height=6, width=5, classes=3), tmp_path) is None


def test_another_file_makes_another_training(here: Path) -> None:
    def of(name: str) -> str:
        return fingerprints.of_parameters({"cell": name}, "abc")

    (here / "own_one.py").write_text(GOOD)
    (here / "own_two.py").write_text(GOOD + "# changed\n")
    assert custom_cells.source("own_one:Sums").digest == custom_cells.source("own_good:Sums").digest
    assert custom_cells.source("own_one:Sums").digest != custom_cells.source("own_two:Sums").digest
    assert len({of("own_one:Sums"), of("own_two:Sums"), of("own_one:Running"), of("gru")}) == 4
