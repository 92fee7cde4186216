"""Measure the seconds of training until a GRU first reaches a validation accuracy.

    python benchmarks/time_to_accuracy.py

Three variants take turns, in new processes, with several seeds: the recipe `quick`, the tutorial's settings with this
pipeline, and the tutorial's settings with stock Keras `compile` and `fit`. Each is validated after every epoch, until
it has reached all targets or its last epoch. Prints a table in Markdown. The seconds include the epochs and the
tracing, but not imports, validation and logging.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipeline import recipes
from pipeline.data.prepare import download, preprocess
from pipeline.progress import Reporter
from pipeline.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
TARGETS = [0.9732, 0.99]
"""The final accuracy that the tutorial published, and a higher one."""

Train = Callable[[Settings, float], list["Moment"]]


class Moment(NamedTuple):
    """The seconds of training so far, and the validation accuracy."""

    seconds: float
    accuracy: float


# Code of the child processes


def train_ours(settings: Settings, target: float) -> list[Moment]:
    """Train like `pipeline train`, until a validation accuracy of ``target``; return its course."""
    from pipeline.data import stored
    from pipeline.model.trainer import Trainer
    from pipeline.startup import start_tensorflow

    start_tensorflow(settings.shards)
    trainer = Trainer.of(settings, stored.find(settings))
    moments: list[Moment] = []
    for record in trainer.epochs(settings.epochs):
        seconds = record.epoch_seconds + (moments[-1].seconds if moments else 0)
        moments.append(Moment(seconds, record.val_accuracy))
        if moments[-1].accuracy >= target:
            break
    return moments


def train_keras(settings: Settings, target: float) -> list[Moment]:
    """Train the same model with Keras's own `compile` and `fit`, and TensorFlow's default threads."""
    import keras

    from pipeline.data import stored
    from pipeline.model import network

    data = stored.find(settings)
    samples = len(data.train.labels) // settings.batch_size * settings.batch_size  # full batches, as in the pipeline
    x, y = (part[:samples] for part in (data.train.examples.astype("float32"), data.train.labels))
    held_out = data.validation.examples.astype("float32"), data.validation.labels
    model = network.build(settings, data.kind, classes=data.classes)
    adam = keras.optimizers.Adam(settings.learning_rate)
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
    moments: list[Moment] = []
    for _ in range(settings.epochs):
        begin = time.perf_counter()
        model.fit(x, y, batch_size=settings.batch_size, verbose=0)
        seconds = time.perf_counter() - begin + (moments[-1].seconds if moments else 0)
        moments.append(Moment(seconds, model.evaluate(*held_out, verbose=0)[1]))
        if moments[-1].accuracy >= target:
            break
    return moments


VARIANTS: dict[str, tuple[Train, dict[str, str]]] = {
    "`quick`": (train_ours, {"recipe": "quick"}),
    "the tutorial's settings": (train_ours, {}),
    "the tutorial's settings, stock Keras": (train_keras, {}),
}
OURS = "the tutorial's settings"


# Code of the main process


def in_a_fresh_process(name: str, seed: int, arguments: argparse.Namespace) -> list[Moment]:
    """Train a variant in a new process, and return its course."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, __file__, "--source", arguments.source, "--data-dir", str(arguments.data_dir)]
    command += ["--job", name, "--seeds", str(seed), "--targets", str(max(arguments.targets))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{name}: the process ended with exit code {done.returncode}.\n{done.stderr}")
    moments = [Moment(*moment) for moment in json.loads(done.stdout.splitlines()[-1])]
    shown = ", ".join(f"{moment.accuracy:.2%} after {moment.seconds:.1f} s" for moment in moments)
    print(f"seed {seed}, {name}: {shown}", file=sys.stderr, flush=True)
    return moments


def reached(moments: list[Moment], target: float) -> float | None:
    """Return the seconds after which a run reached ``target``; None if it did not."""
    return next((moment.seconds for moment in moments if moment.accuracy >= target), None)


def column(name: str, target: float, trainings: dict[str, list[list[Moment]]]) -> str:
    """Return the median seconds to a target, their range, and the median ratio to our run with the same seed."""
    seconds = [reached(moments, target) for moments in trainings[name]]
    ours = [reached(moments, target) for moments in trainings[OURS]]
    arrived = [value for value in seconds if value is not None]
    if not arrived:
        return "not reached | "
    ratios = [value / base for value, base in zip(seconds, ours, strict=True) if value and base]
    count = "" if len(arrived) == len(seconds) else f", {len(arrived)} of {len(seconds)} seeds"
    ratio = f"{median(ratios):.2f}" if ratios else ""
    return f"{median(arrived):.1f} ({min(arrived):.1f}–{max(arrived):.1f}{count}) | {ratio}"


def measure(arguments: argparse.Namespace) -> None:
    """Train all variants with all seeds, and print the table."""
    given: dict[str, Any] = {"source": arguments.source, "data_dir": arguments.data_dir}
    download(recipes.resolve(given), Reporter())
    preprocess(recipes.resolve(given), Reporter())
    trainings: dict[str, list[list[Moment]]] = {name: [] for name in VARIANTS}
    for seed in arguments.seeds:
        for name, measured in trainings.items():
            measured.append(in_a_fresh_process(name, seed, arguments))
    heads = " | ".join(f"seconds to {target:.2%} (min–max) | ÷ ours" for target in arguments.targets)
    print(f"| gru | {heads} |")
    print("| --- " * (1 + 2 * len(arguments.targets)) + "|")
    for name in VARIANTS:
        print(f"| {name} | " + " | ".join(column(name, target, trainings) for target in arguments.targets) + " |")


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="mirrors", help="folder with other IDX files like MNIST's")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--targets", type=lambda text: [float(part) for part in text.split(",")], default=TARGETS)
    parser.add_argument("--job", help=argparse.SUPPRESS)  # the variant of a new process
    return parser.parse_args()


def main() -> None:
    """Print the table; a process with ``--job`` trains one run."""
    arguments = parse()
    if not arguments.job:
        measure(arguments)
        return
    train, given = VARIANTS[arguments.job]
    common = {"source": arguments.source, "data_dir": arguments.data_dir, "seed": arguments.seeds[0]}
    print(json.dumps(train(recipes.resolve(common | given), max(arguments.targets))))


if __name__ == "__main__":
    main()
