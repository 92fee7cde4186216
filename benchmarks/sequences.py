"""Measure the seconds of an epoch on sequences of different lengths: this pipeline and stock Keras `fit` with a mask.

    python benchmarks/sequences.py --source ../shared/sequences

Both train each cell in turn, epoch by epoch in one process. The data is JapaneseVowels (7 to 29 steps, batches of 16)
and random sequences of 50 to 1,000 steps (batches of 32). The first epoch builds the graph and is left out. Prints a
table in Markdown.
"""

import argparse
import os
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

JAPANESE_VOWELS, MADE_UP = "JapaneseVowels", "50 to 1,000 steps"


def data(name: str, source: str) -> tuple[Any, Any]:
    """Return the examples (N, T, F), padded with NaN, and the labels of a data set."""
    import numpy as np

    if name == JAPANESE_VOWELS:
        from pipeline.data import formats
        from pipeline.settings import DataSettings

        contents = formats.read(DataSettings(source=source, dataset=name))
        train = contents.parts["train"] if contents else None
        return train and train.examples, train and train.labels
    random = np.random.default_rng(0)
    lengths = random.integers(50, 1_001, 256)
    examples = random.normal(size=(256, 1_000, 8)).astype(np.float32)
    examples[np.arange(1_000) >= lengths[:, np.newaxis]] = np.nan
    return examples, random.integers(0, 4, 256).astype(np.uint8)


def measure(name: str, cell: str, arguments: argparse.Namespace) -> str:
    """Return a row of the table: medians of the epochs, and the lowest and highest ratio."""
    import keras

    from pipeline.data.splits import Split
    from pipeline.kinds import known
    from pipeline.model.trainer import Trainer
    from pipeline.settings import Settings

    examples, labels = data(name, arguments.source)
    size = 16 if name == JAPANESE_VOWELS else 32
    settings = Settings.of({"cell": cell, "batch_size": size})
    split, kind = Split(examples=examples, labels=labels), known.of(examples, [str(at) for at in examples[0, 0]])
    trainer = Trainer(settings, split, split, kind=kind, classes=int(labels.max()) + 1)
    stock = keras.models.clone_model(trainer.model)
    stock.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    ours, theirs = [], []
    for number in range(1, arguments.epochs + 2):
        ours.append(trainer.epoch(number).epoch_seconds)
        begin = time.perf_counter()
        stock.fit(examples, labels, batch_size=size, verbose=0)
        theirs.append(time.perf_counter() - begin)
    ratios = [stock / own for own, stock in zip(ours[1:], theirs[1:], strict=True)]
    return (
        f"| {name} | `{cell}` | {statistics.median(ours[1:]):.3f} | {statistics.median(theirs[1:]):.3f} | "
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) |"
    )


def main() -> None:
    """Measure all cells on both data sets, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=lambda text: text.split(","), default=["rnn", "lstm", "gru"])
    parser.add_argument("--source", default="../shared/sequences", help="folder that contains JapaneseVowels_TRAIN.ts")
    parser.add_argument("--data", nargs="+", default=[JAPANESE_VOWELS, MADE_UP])
    parser.add_argument("--epochs", type=int, default=6, help="number of measured epochs")
    arguments = parser.parse_args()
    from pipeline.machine import usable_cores
    from pipeline.startup import start_tensorflow

    start_tensorflow(usable_cores())
    print("| data | cell | ours, s per epoch | Keras, s per epoch | times as fast |\n| --- | --- | --- | --- | --- |")
    for name in arguments.data:
        for cell in arguments.cells:
            print(measure(name, cell, arguments), flush=True)


if __name__ == "__main__":
    main()
