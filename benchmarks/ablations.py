"""What each part of a recipe is worth: validation accuracy with and without it.

    python benchmarks/ablations.py
    python benchmarks/ablations.py cell=rnn,recipe=accurate cell=rnn,recipe=accurate,ema=0

Trains each variant, a list of parameters, with several seeds, and prints a table
in Markdown. Without variants: the recipe, and the recipe without each of its
parts. A training has a process and a core of its own; its batches are cut into
two shards as on a machine of two cores, so that its costs are those of a run there.
The test images are not looked at.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline import recipes
from pipeline.data.prepare import download, preprocess
from pipeline.machine import usable_cores
from pipeline.progress import Reporter
from pipeline.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]

OFF: dict[str, object] = {
    "schedule": "constant",
    "warmup_epochs": 0,
    "augmentation": "none",
    "dropout": 0,
    "weight_decay": 0,
    "label_smoothing": 0,
    "clip_norm": 0,
    "ema": 0,
    "initializer": "orthogonal",
}


def variants_of(recipe: str, cell: str) -> list[str]:
    """Return the tutorial, the recipe, and the recipe without each of its parts."""
    base = f"cell={cell},recipe={recipe}"
    parts = [name for name in recipes.RECIPES[recipe].values[cell] if name in OFF]
    return [f"cell={cell}", base, *(f"{base},{name}={OFF[name]}" for name in parts)]


def parameters(variant: str) -> dict[str, str]:
    """Return the parameters that a text such as ``cell=rnn,ema=0`` names."""
    return dict(part.split("=", 1) for part in variant.split(","))


def train(settings: Settings) -> list[dict[str, float]]:
    """Train on one core; return what validation said after each epoch, and the seconds of the epoch."""
    from pipeline.data import processed
    from pipeline.model.fit import Fit
    from pipeline.model.trainer import Trainer
    from pipeline.startup import start_tensorflow

    start_tensorflow(1)
    fit = Fit(Trainer.of(settings, processed.find(settings)))
    return [
        {"seconds": record.epoch_seconds, "cost": record.val_cost, "accuracy": record.val_accuracy}
        for record in fit.epochs(settings.epochs)
    ]


def in_a_fresh_process(given: dict[str, Any]) -> list[dict[str, float]]:
    """Return what ``train`` returns, from a process of its own."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, __file__, "--job", json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{given}: the process ended with exit code {done.returncode}.\n{done.stderr}")
    history: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    last = history[-1]
    shown = " ".join(f"{name}={value}" for name, value in given.items() if name not in ("source", "data_dir", "shards"))
    print(f"{shown}: {last['accuracy']:.2%}, {last['cost']:.4f}", file=sys.stderr, flush=True)
    return history


def row(variant: str, histories: list[list[dict[str, float]]]) -> str:
    """Return a line of the table: the last epoch of each seed, and the mean seconds of an epoch of one process."""
    last = [history[-1] for history in histories]
    accuracies = ", ".join(f"{epoch['accuracy']:.2%}" for epoch in last)
    accuracy, cost = mean(epoch["accuracy"] for epoch in last), mean(epoch["cost"] for epoch in last)
    seconds = mean(epoch["seconds"] for history in histories for epoch in history)
    return f"| {variant.replace(',', ', ')} | {accuracy:.2%} | {accuracies} | {cost:.4f} | {seconds:.1f} |"


def measure(arguments: argparse.Namespace) -> None:
    """Train all variants with all seeds, and print the table."""
    data: dict[str, Any] = {"source": str(arguments.source), "data_dir": str(arguments.data_dir)}
    download(recipes.resolve(data), Reporter())
    preprocess(recipes.resolve(data), Reporter())
    variants = arguments.variants or variants_of(arguments.recipe, arguments.cell)
    common = data | {"epochs": arguments.epochs, "shards": 2}
    given = [common | parameters(variant) | {"seed": seed} for variant in variants for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        histories = list(pool.map(in_a_fresh_process, given))
    print("| parameters | val accuracy | of each seed | val cost | seconds per epoch |")
    print("| --- | --- | --- | --- | --- |")
    for number, variant in enumerate(variants):
        start = number * len(arguments.seeds)
        print(row(variant, histories[start : start + len(arguments.seeds)]))


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="parameters such as cell=rnn,ema=0")
    parser.add_argument("--source", default="mirrors", help="a folder with other IDX files of MNIST's kind")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the data is kept")
    parser.add_argument("--recipe", default="accurate", help="whose parts are left out in turn")
    parser.add_argument("--cell", default="gru", help="rnn, lstm or gru")
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--seeds", type=lambda text: text.split(","), default=["1", "2"], help="such as 1,2,3")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="trainings side by side, each on one core")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)  # the training that a fresh process is for
    return parser.parse_args()


def main() -> None:
    """Measure and print, or do the one training that this process was started for."""
    arguments = parse()
    if arguments.job:
        print(json.dumps(train(recipes.resolve(arguments.job))))
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
