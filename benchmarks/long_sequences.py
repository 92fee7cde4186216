"""Measure the seconds of a batch on MNIST pixel by pixel: this pipeline and stock Keras `fit`.

    python benchmarks/long_sequences.py

Each cell is trained on the same few images with both. They take turns, in new processes, for several rounds. The first
epoch builds the graph and is counted separately. Prints a table in Markdown.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]

UNITS, CLASSES, BATCH, SIDE = 128, 10, 128, 28


def train(variant: str, cell: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Train one cell; return the seconds of a batch, the seconds to build the graph, and the memory in MB."""
    import numpy as np

    from pipeline.settings import Settings

    settings = Settings.of({"cell": cell, "steps": arguments.steps, "hidden_units": UNITS, "batch_size": BATCH})
    random = np.random.default_rng(0)  # the time does not depend on the content of the images
    images = random.integers(0, 256, (arguments.batches * BATCH, SIDE, SIDE), dtype=np.uint8)
    labels = random.integers(0, CLASSES, len(images), dtype=np.uint8)
    seconds = {"ours": ours, "keras": keras_fit}[variant](settings, images, labels, arguments.epochs)
    batch = statistics.median(seconds[1:]) / arguments.batches
    scale = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    return {"batch": batch, "building": seconds[0] - batch * arguments.batches, "peak": peak}


def ours(settings: Any, images: Any, labels: Any, epochs: int) -> list[float]:
    """Return the seconds of each epoch, trained as in `pipeline train`."""
    from pipeline.data.splits import Split
    from pipeline.kinds.images import Images
    from pipeline.model.trainer import Trainer
    from pipeline.startup import start_tensorflow

    start_tensorflow(settings.shards)
    split = Split(examples=images, labels=labels)
    trainer = Trainer(settings, split, split, kind=Images(height=SIDE, width=SIDE), classes=CLASSES)
    return [trainer.epoch(number).epoch_seconds for number in range(1, epochs + 1)]


def keras_fit(settings: Any, images: Any, labels: Any, epochs: int) -> list[float]:
    """Return the seconds of each epoch with Keras's own `compile` and `fit`, and TensorFlow's default threads."""
    import keras

    from pipeline.kinds.images import Images
    from pipeline.model import network

    model = network.build(settings, Images(height=SIDE, width=SIDE), classes=CLASSES)
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        model.fit(images.astype("float32"), labels, batch_size=BATCH, verbose=0)
        seconds.append(time.perf_counter() - begin)
    return seconds


def in_a_fresh_process(variant: str, cell: str) -> dict[str, float]:
    """Run ``train`` in a new process with the same arguments, and return its result."""
    command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant, "--cells", cell]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | quiet)
    if done.returncode:
        sys.exit(f"{variant}, {cell}: the process ended with exit code {done.returncode}.\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(cell: str, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> str:
    """Return a row of the table: medians over the rounds, and the lowest and highest ratio."""
    middle = [
        {name: statistics.median(each[name] for each in of_variant) for name in of_variant[0]}
        for of_variant in zip(*rounds, strict=True)
    ]
    mine, stock = middle
    ratios = [theirs["batch"] / own["batch"] for own, theirs in rounds]
    return (
        f"| `{cell}` | {1000 * mine['batch']:.0f} | {1000 * stock['batch']:.0f} | "
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) | "
        f"{mine['building']:.0f} | {mine['peak']:,.0f} | {stock['peak']:,.0f} |"
    )


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=lambda text: text.split(","), default=["rnn", "lstm", "gru", "mgu"])
    parser.add_argument("--steps", type=int, default=SIDE * SIDE, help="number of steps, a divisor of 784")
    parser.add_argument("--batches", type=int, default=8, help=f"batches per epoch, of {BATCH} images")
    parser.add_argument("--epochs", type=int, default=4, help="epochs per process; the first is counted separately")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds, each of which measures both")
    parser.add_argument("--variant", help=argparse.SUPPRESS)  # the variant of a new process
    return parser.parse_args()


def main() -> None:
    """Print the table; a process with ``--variant`` trains one cell."""
    arguments = parse()
    if arguments.variant:
        print(json.dumps(train(arguments.variant, arguments.cells[0], arguments)))
        return
    print("| cell | ours, ms per batch | Keras, ms per batch | times as fast | building, s | ours, MB | Keras, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for cell in arguments.cells:
        rounds = [
            (in_a_fresh_process("ours", cell), in_a_fresh_process("keras", cell)) for _ in range(arguments.rounds)
        ]
        print(row(cell, rounds), flush=True)


if __name__ == "__main__":
    main()
