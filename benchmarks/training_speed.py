"""Measure the seconds of a training epoch: this pipeline, stock Keras, PyTorch, and the limit of the machine.

    python benchmarks/training_speed.py

Each variant trains each cell for a few epochs. The variants take turns, in new processes, for several rounds. Prints a
table in Markdown; benchmarks/README.md explains it. startup.py measures the time of a command outside its epochs.

PyTorch is in the dependency group `benchmark`. If it is missing, its row of the table says so.
"""

import argparse
import importlib.util
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]

CELLS = {"rnn": 1, "lstm": 4, "gru": 3}
"""Number of gates by cell."""

STEPS = INPUTS = 28
UNITS, CLASSES, BATCH, HELD_OUT = 128, 10, 128, 5_000

PRODUCT_SIZE = 2_048
PRODUCT_TRIALS = 12


class Timing(NamedTuple):
    """The measurements of a process that trained.

    Attributes:
        epochs: seconds of each epoch; the first includes the building of the graph.
        samples: number of images in an epoch.
        peak: largest resident memory of the process in MB.
    """

    epochs: list[float]
    samples: int
    peak: float

    @property
    def steady(self) -> list[float]:
        """Seconds of each epoch after the first."""
        return self.epochs[1:]

    @property
    def first(self) -> float:
        """Extra seconds of the first epoch: tracing, and other work that is done once."""
        return self.epochs[0] - statistics.median(self.steady)


# Code of the child processes


def read_training_data(source: Path) -> tuple[Any, Any]:
    """Return the training images (N, 28, 28) and labels (N,) as uint8, without the validation part."""
    from pipeline.data.datasets import MAGIC, STEMS, read_idx

    arrays = []
    for kind, stem in zip(MAGIC, STEMS, strict=False):
        path = next(path for path in (source / f"{stem}.gz", source / stem) if path.exists())
        arrays.append(read_idx(path.read_bytes(), name=path.name, kind=kind)[HELD_OUT:])
    images, labels = arrays
    return images, labels


def train_ours(cell: str, source: Path, epochs: int) -> tuple[list[float], int]:
    """Train like `pipeline train` with its default parameters."""
    from pipeline.data.splits import Split
    from pipeline.kinds.images import Images
    from pipeline.model.trainer import Trainer
    from pipeline.settings import Settings
    from pipeline.startup import start_tensorflow

    settings = Settings.of({"cell": cell})
    start_tensorflow(settings.shards)
    images, labels = read_training_data(source)
    train = Split(examples=images, labels=labels)
    validation = Split(examples=images[:HELD_OUT], labels=labels[:HELD_OUT])
    trainer = Trainer(settings, train, validation, kind=Images(height=STEPS, width=INPUTS), classes=CLASSES)
    results = [trainer.epoch(number) for number in range(1, epochs + 1)]
    return [result.epoch_seconds for result in results], trainer.batches * settings.batch_size


def train_keras(cell: str, source: Path, epochs: int) -> tuple[list[float], int]:
    """Train the same model with Keras's own `compile` and `fit`, and TensorFlow's default threads."""
    import keras

    from pipeline.kinds.images import Images
    from pipeline.model import network
    from pipeline.settings import Settings

    images, labels = read_training_data(source)
    samples = len(images) // BATCH * BATCH  # full batches only, so that all variants do the same work
    model = network.build(Settings.of({"cell": cell}), Images(height=STEPS, width=INPUTS), classes=CLASSES)
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ends = [time.perf_counter()]
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    x, y = images[:samples].astype("float32"), labels[:samples]
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[clock])
    return [end - begin for begin, end in itertools.pairwise(ends)], samples


def train_torch(cell: str, source: Path, epochs: int) -> tuple[list[float], int]:
    """Train the same network with PyTorch's CPU layers and default threads, with the images in memory."""
    import torch

    images, labels = read_training_data(source)
    pixels, targets = torch.tensor(images), torch.tensor(labels, dtype=torch.int64)
    layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](INPUTS, UNITS, batch_first=True)
    head = torch.nn.Linear(UNITS, CLASSES)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.001)
    samples = len(images) // BATCH * BATCH
    seconds = []
    for _ in range(epochs):
        begin, total = time.perf_counter(), 0.0
        for indices in torch.split(torch.randperm(len(images))[:samples], BATCH):
            outputs, _ = layer(pixels[indices].float() / 255)
            cost = torch.nn.functional.cross_entropy(head(outputs[:, -1]), targets[indices])
            optimizer.zero_grad()
            torch.autograd.backward(cost)
            optimizer.step()
            total += cost.item()
        seconds.append(time.perf_counter() - begin)
    return seconds, samples


TRAINERS: dict[str, Callable[[str, Path, int], tuple[list[float], int]]] = {
    "this pipeline": train_ours,
    "stock Keras fit": train_keras,
    "PyTorch": train_torch,
}
OURS, KERAS, TORCH = TRAINERS


def product_rate() -> float:
    """Return the best speed of a float32 product of two 2048 × 2048 matrices on all cores, in operations per second."""
    import tensorflow as tf

    a, b = tf.random.normal((2, PRODUCT_SIZE, PRODUCT_SIZE))
    seconds = []
    for _ in range(PRODUCT_TRIALS):
        begin = time.perf_counter()
        (a @ b).numpy()
        seconds.append(time.perf_counter() - begin)
    return 2 * PRODUCT_SIZE**3 / min(seconds)


def work(job: str, cell: str, source: Path, epochs: int) -> None:
    """Do one job, and print its result as JSON on the last line."""
    if job == "product":
        print(json.dumps(product_rate()))
        return
    seconds, samples = TRAINERS[job](cell, source, epochs)
    scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(json.dumps({"epochs": seconds, "samples": samples, "peak": peak}))


# Code of the main process


def in_a_fresh_process(job: str, cell: str, arguments: argparse.Namespace) -> Any:
    """Run ``work`` in a new process, and return what it printed."""
    command = [sys.executable, __file__, "--source", str(arguments.source), "--epochs", str(arguments.epochs)]
    done = subprocess.run(
        [*command, "--job", job, "--cells", cell], capture_output=True, text=True, check=False, env=environment()
    )
    if done.returncode:
        sys.exit(f"{job}, {cell}: the process ended with exit code {done.returncode}.\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports ``pipeline`` from this repository, with quiet libraries."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return quiet | os.environ | {"PYTHONPATH": str(REPOSITORY)} | more


def operations(cell: str) -> int:
    """Return the floating-point operations of the matrix products that train one image.

    In the forward pass, a step multiplies I inputs and U units with G·U columns each, with 2 operations per
    multiplication. The backward pass repeats the recurrent product twice (for the weights and for the previous state),
    and the product of the inputs once, because pixels need no gradient. It repeats the product of the last layer twice.
    """
    gates = CELLS[cell]
    return STEPS * 2 * gates * UNITS * (3 * UNITS + 2 * INPUTS) + 3 * 2 * UNITS * CLASSES


def measure(arguments: argparse.Namespace) -> tuple[dict[tuple[str, str], list[Timing]], float]:
    """Return the timings by cell and variant, one per round, and the best speed of a product in all rounds."""
    variants = [name for name in TRAINERS if name != TORCH or importlib.util.find_spec("torch")]
    timings: dict[tuple[str, str], list[Timing]] = {(cell, name): [] for cell in arguments.cells for name in variants}
    rates = []
    for number in range(1, arguments.rounds + 1):
        rates.append(in_a_fresh_process("product", "-", arguments))
        for (cell, name), measured in timings.items():
            timing = Timing(**in_a_fresh_process(name, cell, arguments))
            measured.append(timing)
            seconds = statistics.median(timing.steady)
            print(f"round {number}/{arguments.rounds}: {cell}, {name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return timings, max(rates)


def print_training(timings: dict[tuple[str, str], list[Timing]], rate: float) -> None:
    """Print the table of all cells and variants, and the floor."""
    print(f"Product of {PRODUCT_SIZE} × {PRODUCT_SIZE} matrices in float32 on all cores: {rate / 1e9:.0f} GFLOP/s\n")
    print("| cell | variant | seconds per epoch (min–max) | ÷ this pipeline | extra, first epoch | peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for cell in dict.fromkeys(cell for cell, _ in timings):
        ours = [statistics.median(timing.steady) for timing in timings[cell, OURS]]
        for name in TRAINERS:
            print(f"| {cell} | {name} | " + _row(timings.get((cell, name), []), ours) + " |")
        floor = operations(cell) * timings[cell, OURS][0].samples / rate
        print(f"| {cell} | floor | {floor:.2f} | {floor / statistics.median(ours):.2f} | | |")


def _row(rounds: list[Timing], ours: list[float]) -> str:
    """Return the columns of one variant; its ratio is the median of the ratios within each round."""
    if not rounds:
        return "not installed (dependency group `benchmark`) | | |"
    steady = [seconds for timing in rounds for seconds in timing.steady]
    ratio = statistics.median(
        statistics.median(timing.steady) / base for timing, base in zip(rounds, ours, strict=True)
    )
    first, peak = statistics.median(t.first for t in rounds), max(timing.peak for timing in rounds)
    return (
        f"{statistics.median(steady):.2f} ({min(steady):.2f}–{max(steady):.2f}) "
        f"| {ratio:.2f} | {first:.1f} s | {peak:,.0f} MB"
    )


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    from pipeline.data.datasets import CATALOGUE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    help_source = "folder with MNIST's IDX files, .gz or not; by default those of the package"
    parser.add_argument("--source", type=Path, default=CATALOGUE["mnist"].folder, help=help_source)
    parser.add_argument("--epochs", type=int, default=4, help="epochs per process; the first is counted separately")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, each of which measures all variants")
    parser.add_argument("--cells", type=lambda text: text.split(","), default=list(CELLS), help="such as rnn,gru")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the job of a new process
    arguments = parser.parse_args()
    arguments.source = arguments.source.resolve()
    if arguments.epochs < 2:  # noqa: PLR2004 - the first is not like the others
        parser.error(f"--epochs: must be at least 2, because the first is counted separately; got {arguments.epochs}.")
    return arguments


def main() -> None:
    """Print the table; a process with ``--job`` does one job."""
    arguments = parse()
    if arguments.job:
        work(arguments.job, arguments.cells[0], arguments.source, arguments.epochs)
        return
    print_training(*measure(arguments))


if __name__ == "__main__":
    main()
