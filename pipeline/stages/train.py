"""Train one network into an MLflow run, and log its model.

    pipeline train --cell lstm --epochs 10
    pipeline train --resume 4fdc…

Reads the processed data; the weights that are kept are those of the epoch with
the best validation accuracy. A training that was cut off goes on after its last
finished epoch, in the same run, to the same numbers.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import get_args

import keras
import tensorflow as tf

from pipeline.data import processed
from pipeline.data.processed import DataSet
from pipeline.errors import DataError, TrackingError, UsageError
from pipeline.evaluation import figures, metrics
from pipeline.jobs import checkpoints, fingerprints, resumable
from pipeline.jobs.checkpoints import Checkpoint
from pipeline.jobs.resumable import FINGERPRINT, TRAINED
from pipeline.model import network
from pipeline.model.trainer import Trainer, configure_threads
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.settings import DATA_PARAMETERS, DatasetName, Settings, usable_cores
from pipeline.tracking import store


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose run is open.

    Attributes:
        run_id: of the MLflow run.
        settings: its parameters.
        data: what it trains on.
        checkpoint: the folder of its checkpoint, held against other processes.
        cores: that it may use.
    """

    run_id: str
    settings: Settings
    data: DataSet
    checkpoint: Path
    cores: int


def train(settings: Settings, reporter: Reporter, *, resume: str | None = None) -> str:
    """Train, and return the id of the MLflow run.

    Args:
        settings: the parameters.
        reporter: told how far it is.
        resume: the id of a run that was cut off; its own parameters hold.

    Raises:
        DataError: there is no processed data for these settings.
        TrackingError: the tracking server does not answer.
        TrainingError: a cost is not finite; the run ends as FAILED.
        UsageError: a parameter does not fit the data, or there is nothing to resume.
    """
    store.connect()
    if resume:
        settings, data = resumed(resume, settings, ended=TRAINED)
    else:
        data = processed.find(settings)
    with open_training(settings, data, resume=resume) as opened:
        fit(opened, reporter)
    return opened.run_id


def resumed(run_id: str, given: Settings, *, ended: str) -> tuple[Settings, DataSet]:
    """Return the parameters and the data of a run that is to go on.

    Args:
        run_id: of the run.
        given: ``data_dir`` is taken from here; what else differs from its default must be as it is in the run.
        ended: the metric that a run has which has nothing left to do.

    Raises:
        DataError: its data is not there.
        TrackingError: there is no such run, or it is not a training.
        UsageError: it has ended, was begun by other code, or has other parameters than those given.
    """
    run = store.get_run(run_id)
    if FINGERPRINT not in run.data.tags or "cell" not in run.data.params:
        raise TrackingError(f"resume: expected a training run of this pipeline, received {run_id!r}, which is none.")
    if ended in run.data.metrics:
        raise UsageError(f"resume: expected a run that was cut off, received {run_id}, which has ended.")
    settings = _settings_of(run_id, given)
    data = processed.find_by_digest(settings.data_dir, run.data.tags["dataset"], run.data.tags["dataset_digest"])
    if fingerprints.of(settings, data) != run.data.tags[FINGERPRINT]:
        raise UsageError(
            f"resume: expected a run of the code and the TensorFlow that are here, received {run_id}, begun by others. "
            "The rest would not be as it would have been there; train anew."
        )
    return settings, data


def _settings_of(run_id: str, given: Settings) -> Settings:
    """Return the parameters that a run has logged; only ``data_dir`` may be another."""
    parameters = store.parameters_of(run_id)
    names = {field.name for field in fields(Settings)}
    logged: dict[str, object] = {name: value for name, value in parameters.items() if name in names}
    if logged["dataset"] not in get_args(DatasetName):  # a custom one, which its digest finds
        logged["dataset"] = given.dataset
    settings = Settings.of(logged)
    default = Settings()
    for field in fields(Settings):
        value, own = getattr(given, field.name), getattr(settings, field.name)
        if value not in (own, getattr(default, field.name)) and field.name not in DATA_PARAMETERS:
            raise UsageError(
                f"{field.name}: expected {own}, as in the run to be resumed, received {value}. Leave it out."
            )
    return settings if given.data_dir == default.data_dir else replace(settings, data_dir=given.data_dir)


@contextmanager
def open_training(
    settings: Settings,
    data: DataSet,
    *,
    name: str | None = None,
    parent: str | None = None,
    resume: str | None = None,
    cores: int | None = None,
) -> Iterator[Training]:
    """Open the run of a training, with all that is known before it begins, and hold its checkpoint.

    Args:
        settings: the parameters.
        data: what is trained on.
        name: of the run; by default such as ``gru-s1``.
        parent: the id of the run that it belongs under.
        resume: the id of the run that is to go on; None: a new one.
        cores: that it may use; by default all.

    Raises:
        DataError: the checkpoint's folder cannot be made.
        UsageError: a parameter does not fit the data, or another process is at the run to be resumed; no run is opened.
    """
    parameters = fingerprints.parameters(settings, data)
    cores = min(cores or usable_cores(), settings.shards)
    name = name or f"{settings.cell}-s{settings.seed}"
    fingerprint = fingerprints.of(settings, data)
    with resumable.open_run(name, settings.data_dir, fingerprint=fingerprint, parent=parent, resume=resume) as opened:
        run_id, folder = opened
        store.log_parameters(run_id, parameters)
        store.log_origin(run_id, data, gpus=_gpus())
        store.log_tags(run_id, {"cores": str(cores)})
        yield Training(run_id=run_id, settings=settings, data=data, checkpoint=folder, cores=cores)


def _gpus() -> list[str]:
    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]


def fit(opened: Training, reporter: Reporter) -> None:
    """Train the network of an open run epoch by epoch; log its history and its best model.

    A run that was resumed goes on after its last finished epoch; one that is trained already is left as it is.

    Raises:
        DataError: the run was begun, but its checkpoint is damaged or elsewhere.
        TrainingError: a cost is not finite.
    """
    if TRAINED in store.get_run(opened.run_id).data.metrics:
        return
    run_id, settings, data = opened.run_id, opened.settings, opened.data
    configure_threads(opened.cores)
    trainer = Trainer.of(settings, data)
    model = trainer.model
    store.log_missing_metrics(run_id, {"parameters": model.count_params()})
    done = _train_epochs(opened, trainer, reporter)
    started = time.perf_counter()
    model.set_weights(done.best_weights)
    _log_training(opened, model, done.history)
    best = _best(done.history)
    summary = {"best_val_accuracy": best.val_accuracy, "best_epoch": best.epoch}
    summary |= {"seconds_train": done.seconds + time.perf_counter() - started}
    summary |= {TRAINED: sum(record.epoch_seconds for record in done.history)}
    store.log_missing_metrics(run_id, summary)
    reporter.note(f"Kept the weights of epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}.")


def _train_epochs(opened: Training, trainer: Trainer, reporter: Reporter) -> Checkpoint:
    """Train what is left of the epochs; return where the training stands after the last."""
    begin, settings = time.perf_counter(), opened.settings
    done = _restore(opened, trainer, reporter)
    before = done.seconds
    for epoch in range(len(done.history) + 1, settings.epochs + 1):
        record = _train_epoch(trainer, epoch, settings.epochs, reporter)
        history = [*done.history, record]
        done = Checkpoint(
            history=history,
            state=trainer.state(),
            best_weights=trainer.weights() if _best(history) is record else done.best_weights,
            seconds=before + time.perf_counter() - begin,
        )
        checkpoints.save(opened.checkpoint, done)  # first: what is logged is never logged again
        store.log_epoch(opened.run_id, record)
        reporter.epoch(record, settings.epochs)
    return done


def _restore(opened: Training, trainer: Trainer, reporter: Reporter) -> Checkpoint:
    """Bring the trainer and the run to where the checkpoint stands, and return it: an empty one at the beginning."""
    done = checkpoints.load(opened.checkpoint)
    if done is None:
        if "cost" in store.get_run(opened.run_id).data.metrics:
            raise DataError(
                f"data_dir: expected the checkpoint of run {opened.run_id} in {opened.checkpoint}, found none. "
                "Resume on the machine and with the data_dir that it was begun with, or train anew."
            )
        return Checkpoint(history=[], state=[], best_weights=[], seconds=0.0)
    trainer.restore(done.state)
    store.log_missing_epochs(opened.run_id, done.history)
    reporter.note(f"Resumed run {opened.run_id} after epoch {len(done.history)} of {opened.settings.epochs}.")
    return done


def _train_epoch(trainer: Trainer, epoch: int, epochs: int, reporter: Reporter) -> EpochRecord:
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


def _log_training(opened: Training, model: keras.Model, history: list[EpochRecord]) -> None:
    run_id, settings, data = opened.run_id, opened.settings, opened.data
    store.log_table(run_id, metrics.history(history), "training/history.csv")
    title = f"{settings.cell}, seed {settings.seed}, on {data.name}"
    colour = figures.CELL_COLOURS[settings.cell]
    curves = figures.curves(history, title, colour=colour, best_epoch=_best(history).epoch)
    store.log_figure(run_id, curves, "training/curves.png")
    with tempfile.TemporaryDirectory() as folder:
        network.save(model, Path(folder))
        store.discard_models(run_id)  # of an attempt that was cut off while it logged one
        store.log_model(Path(folder), data)
