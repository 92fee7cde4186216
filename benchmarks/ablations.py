"""Validation accuracy of a recipe with and without each of its parts.

    python benchmarks/ablations.py
    python benchmarks/ablations.py cell=rnn,recipe=accurate cell=rnn,recipe=accurate,ema=0

A variant is a list of parameters. The script trains each variant with several seeds, and prints a table in Markdown.
By default, the variants are the recipe, and the recipe without each of its parts. Each run has its own process and
core. Its batches have two shards, so its costs are the same as on a machine with two cores. Test images are not used.
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
    """Return the variants: the tutorial, the recipe, and the recipe without each of its parts."""
    base = f"cell={cell},recipe={recipe}"
    parts = [name for name in recipes.RECIPES[recipe][cell] if name in OFF]
    return [f"cell={cell}", base, *(f"{base},{name}={OFF[name]}" for name in parts)]


def parameters(variant: str) -> dict[str, str]:
    """Return the parameters in a text such as ``cell=rnn,ema=0``."""
    return dict(part.split("=", 1) for part in variant.split(","))


def train(settings: Settings) -> list[dict[str, float]]:
    """Train on one core; return the validation results and the seconds of each epoch."""
    from pipeline.data import stored
    from pipeline.model.trainer import Trainer
    from pipeline.startup import start_tensorflow

    start_tensorflow(1)
    trainer = Trainer.of(settings, stored.find(settings))
    return [
        {"seconds": record.epoch_seconds, "cost": record.val_cost, "accuracy": record.val_accuracy}
        for record in trainer.epochs(settings.epochs)
    ]


def in_a_fresh_process(given: dict[str, Any]) -> list[dict[str, float]]:
    """Run ``train`` in a new process, and return its result."""
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
    """Return a row of the table: the last epoch of each seed, and the mean seconds per epoch."""
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
    print("| parameters | val accuracy | accuracy of each seed | val cost | seconds per epoch |")
    print("| --- | --- | --- | --- | --- |")
    for number, variant in enumerate(variants):
        start = number * len(arguments.seeds)
        print(row(variant, histories[start : start + len(arguments.seeds)]))


def parse() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="parameters, such as cell=rnn,ema=0")
    parser.add_argument("--source", default="mirrors", help="folder with other IDX files like MNIST's")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder for the data")
    parser.add_argument("--recipe", default="accurate", help="recipe whose parts are left out, one at a time")
    parser.add_argument("--cell", default="gru", help="rnn, lstm or gru")
    parser.add_argument("--epochs", type=int, default=10, help="number of epochs of each run")
    parser.add_argument("--seeds", type=lambda text: text.split(","), default=["1", "2"], help="seeds, such as 1,2,3")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="number of runs in parallel, each on one core")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)  # the run of a new process
    return parser.parse_args()


def main() -> None:
    """Print the table; a process with ``--job`` trains one run."""
    arguments = parse()
    if arguments.job:
        print(json.dumps(train(recipes.resolve(arguments.job))))
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
