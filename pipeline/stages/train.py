"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10

Reads the processed data; the weights that are kept are those of the epoch with
the best validation accuracy.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline import figures, metrics, network, splits, tracking, training
from pipeline.errors import UsageError
from pipeline.reporting import EpochRecord, Reporter
from pipeline.settings import Settings
from pipeline.splits import DataSet


def train(settings: Settings, reporter: Reporter) -> str:
    """Train, and return the id of the MLflow run.

    Raises:
        DataError: there is no processed data for these settings.
        TrackingError: the tracking server does not answer.
        TrainingError: a cost is not finite; the run ends as FAILED.
        UsageError: a parameter does not fit the data.
    """
    tracking.connect()
    data = splits.find(settings)
    with open_training(settings, data) as run_id:
        fit(run_id, settings, data, reporter)
    return run_id


@contextmanager
def open_training(settings: Settings, data: DataSet) -> Iterator[str]:
    """Open the run of a training, with all that is known before it begins, and yield its id.

    Raises:
        UsageError: a parameter does not fit the data; no run is opened.
    """
    steps = network.resolve_steps(settings.steps, data.height, data.width)
    if settings.batch_size > len(data.train.labels):
        raise UsageError(
            f"batch_size: expected at most the {len(data.train.labels):,} training images of {data.name}, "
            f"received {settings.batch_size:,}."
        )
    with tracking.open_run(f"{settings.cell}-s{settings.seed}") as run_id:
        tracking.log_settings(run_id, settings, data, steps=steps)
        tracking.log_origin(run_id, data, gpus=_gpus())
        yield run_id


def _gpus() -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]


def fit(run_id: str, settings: Settings, data: DataSet, reporter: Reporter) -> None:
    """Train the network of an open run epoch by epoch; log its history and its best model."""
    started = time.perf_counter()
    training.configure_threads(settings.shards)
    model = network.build(settings, height=data.height, width=data.width, classes=data.classes)
    tracking.log_metrics(run_id, {"parameters": model.count_params()})
    history, weights = _train_epochs(run_id, model, settings, data, reporter)
    model.set_weights(weights)
    best = _best(history)
    _log_training(run_id, model, settings, data, history)
    summary = {"best_val_accuracy": best.val_accuracy, "best_epoch": best.epoch}
    summary |= {"train_seconds": sum(record.epoch_seconds for record in history)}
    tracking.log_metrics(run_id, summary | {"seconds_train": time.perf_counter() - started})
    reporter.note(f"Kept the weights of epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}.")


def _train_epochs(
    run_id: str, model: keras.Model, settings: Settings, data: DataSet, reporter: Reporter
) -> tuple[list[EpochRecord], list[Any]]:
    """Return the history, and the weights of its best epoch."""
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    trainer = training.Trainer(
        model,
        optimizer,
        data.train,
        data.validation,
        batch_size=settings.batch_size,
        shards=settings.shards,
        seed=settings.seed,
    )
    history: list[EpochRecord] = []
    weights: list[Any] = []
    for epoch in range(1, settings.epochs + 1):
        record = _train_epoch(trainer, epoch, settings.epochs, reporter)
        history.append(record)
        if _best(history) is record:
            weights = model.get_weights()
        tracking.log_epoch(run_id, record)
        reporter.epoch(record, settings.epochs)
    return history, weights


def _train_epoch(trainer: training.Trainer, epoch: int, epochs: int, reporter: Reporter) -> EpochRecord:
    learning_rate = round(float(trainer.optimizer.learning_rate), 9)  # a float32: 0.001 reads 0.0010000000474974513
    trained = trainer.epoch(epoch, lambda done, total: reporter.batches(epoch, epochs, done, total))
    val_cost, val_accuracy = trainer.validate()
    return EpochRecord(
        epoch=epoch,
        cost=trained.cost,
        accuracy=trained.accuracy,
        val_cost=val_cost,
        val_accuracy=val_accuracy,
        learning_rate=learning_rate,
        epoch_seconds=trained.seconds,
        samples_per_second=trained.samples / trained.seconds,
    )


def _best(history: list[EpochRecord]) -> EpochRecord:
    """Return the epoch of the best validation accuracy; among equals the lowest validation cost, then the first."""
    return min(history, key=lambda record: (-record.val_accuracy, record.val_cost))


def _log_training(
    run_id: str, model: keras.Model, settings: Settings, data: DataSet, history: list[EpochRecord]
) -> None:
    tracking.log_table(run_id, metrics.history(history), "training/history.csv")
    title = f"{settings.cell}, seed {settings.seed}, on {data.name}"
    colour = figures.CELL_COLOURS[settings.cell]
    curves = figures.curves(history, title, colour=colour, best_epoch=_best(history).epoch)
    tracking.log_figure(run_id, curves, "training/curves.png")
    with tempfile.TemporaryDirectory() as folder:
        network.save(model, Path(folder))
        tracking.log_model(Path(folder), data)
