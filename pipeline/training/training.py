"""One training into an MLflow run: its epochs, its model, its evaluation; it may be cut off anywhere and goes on."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import cells, custom_cells, records, startup
from pipeline.data.splits import DataSet
from pipeline.evaluation import calibration, figures, metrics
from pipeline.machine import usable_cores
from pipeline.model import memory, network
from pipeline.model.fit import Fit
from pipeline.model.trainer import Trainer
from pipeline.progress import Reporter
from pipeline.records import EpochRecord
from pipeline.settings import Settings
from pipeline.tracking import lifecycle, lineage, models, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import evaluation, fingerprints, naming, resuming
from pipeline.training.checkpoints import Checkpoints, Place
from pipeline.training.remote_checkpoints import place_of

GoesOn = Callable[[EpochRecord], bool]
"""Is told of an epoch, and answers whether there is to be another."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose run is open.

    Attributes:
        run_id: of the MLflow run.
        settings: its parameters.
        data: what it trains on.
        place: of its checkpoint, which is held against other processes.
        checkpoint: the name of its checkpoint.
    """

    run_id: str
    settings: Settings
    data: DataSet
    place: Place
    checkpoint: str


@contextmanager
def opened(
    settings: Settings,
    data: DataSet,
    *,
    name: str | None = None,
    parent: str | None = None,
    resume: TrackedRun | None = None,
    cores: int | None = None,
    force: bool = False,
    tested: bool = True,
    place: Place | None = None,
) -> Iterator[Training]:
    """Open the run of a training, with all that is known before it begins, and hold its checkpoint.

    Args:
        settings: the parameters.
        data: what is trained on.
        name: of the run; by default that of :mod:`pipeline.training.naming`.
        parent: the id of the run that it belongs under.
        resume: the run that is to go on; None: a new one.
        cores: that it may use; by default all.
        force: try it even if it cannot fit into the memory.
        tested: whether the test images are an input of its run.
        place: of the checkpoint of a new run; by default on this machine.

    Raises:
        PipelineError: the checkpoint cannot be made or is held, or a parameter does not fit the data or the memory.
    """
    parameters, fingerprint = fingerprints.parameters(settings, data), fingerprints.of(settings, data)
    if not force:
        memory.check(settings, data)
    name, here = name or naming.training(settings, data.name), place or Checkpoints(settings.data_dir)
    place = (place_of(resume, here) if resume else None) or here
    opening = partial(resuming.open_run, kind=schema.TRAINING, fingerprint=fingerprint, parent=parent, resume=resume)
    with opening(name, place, data) as (run_id, checkpoint):
        store.log_parameters(run := store.get_run(run_id), parameters)
        lineage.log_origin(run, data, gpus=startup.gpus(), tested=tested)
        _keep_cell(run_id, settings.cell)
        store.log_tags(run_id, {schema.CORES: str(min(cores or usable_cores(), settings.shards))})
        yield Training(run_id=run_id, settings=settings, data=data, place=place, checkpoint=checkpoint)


def _keep_cell(run_id: str, cell: str) -> None:
    """Keep the file of a cell of one's own with the run."""
    if cells.is_custom(cell):
        file = custom_cells.source(cell)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, file.name).write_bytes(file.content)
            store.log_folder(run_id, Path(folder), schema.CELL_FOLDER)
        store.log_tags(run_id, {schema.CELL_FILE: file.digest})


def cut_off(settings: Settings, data: DataSet, reporter: Reporter, *, new: bool) -> TrackedRun | None:
    """Return the run of the same training that was cut off on this machine, unless a ``new`` one is asked for.

    The reporter is told that it goes on.
    """
    found = None if new else resuming.cut_off(fingerprints.of(settings, data), Checkpoints(settings.data_dir))
    if found is None:
        return None
    if lifecycle.in_project_run():  # which has a run of its own
        reporter.note(
            f"Run {found.run_id}, the same training, was cut off. To go on with it: -P resume={found.run_id}."
        )
        return None
    reporter.note(f"Run {found.run_id}, the same training, was cut off: going on with it. --new trains anew.")
    return found


def finish(training: Training, reporter: Reporter, *, evaluate: bool, goes_on: GoesOn = lambda record: True) -> None:
    """Do what an open run has not done yet of its training and, if asked, of its evaluation.

    Args:
        training: whose run is open.
        reporter: told how far it is.
        evaluate: whether it is to be evaluated, too.
        goes_on: told of each epoch; where it says no, the training is pruned: its run ends with a history and no model.

    Raises:
        DataError: its checkpoint is damaged, or cannot be written.
        TrainingError: a cost is not finite.
    """
    if not store.get_run(training.run_id).is_trained:
        _train(training, reporter, goes_on)
    run = store.get_run(training.run_id)
    if evaluate and run.is_trained and not run.is_evaluated:
        evaluation.evaluate(training.run_id, training.data, reporter)


def _train(training: Training, reporter: Reporter, goes_on: GoesOn) -> None:
    """Train the network epoch by epoch; log its history and, unless it is pruned, the model of the kept epoch."""
    fit = Fit(Trainer.of(training.settings, training.data))
    run = store.get_run(training.run_id)
    store.log_missing_metrics(run, {schema.PARAMETERS: fit.trainer.model.count_params()})
    _go_on(training, fit, reporter)
    is_pruned = not _train_epochs(training, fit, reporter, goes_on)
    _log_history(training, fit)
    best = records.kept(fit.history)
    reached = {schema.BEST_VAL_ACCURACY: best.val_accuracy, schema.BEST_EPOCH: best.epoch}
    reached |= {schema.STOPPED_EPOCH: len(fit.history)} if len(fit.history) < training.settings.epochs else {}
    if is_pruned:
        store.log_missing_metrics(run, reached)
        store.log_tags(training.run_id, {schema.PRUNED: "true"})
        return
    model_id, temperature = _log_model(training, fit)
    summary = reached | {
        schema.TEMPERATURE: temperature,
        schema.SECONDS_TRAIN: fit.seconds,
        schema.CPU_SECONDS: sum(record.epoch_cpu_seconds for record in fit.history),
        schema.TRAIN_SECONDS: sum(record.epoch_seconds for record in fit.history),
    }
    subject = lineage.subject(model_id, training.data, "training")
    store.log_missing_metrics(run, summary, subject)
    reporter.note(f"Kept the weights of epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}.")


def _go_on(training: Training, fit: Fit, reporter: Reporter) -> None:
    """Bring a training and its run to where its checkpoint stands, if it has one."""
    if snapshot := training.place.load(training.checkpoint):
        fit.restore(snapshot)
        store.log_missing_epochs(training.run_id, fit.history)
        epochs = training.settings.epochs
        reporter.note(f"Resumed run {training.run_id} after epoch {len(fit.history)} of {epochs}.")


def _train_epochs(training: Training, fit: Fit, reporter: Reporter, goes_on: GoesOn) -> bool:
    """Train the epochs that are left; return whether all that there are to be were."""
    if fit.history and not goes_on(fit.history[-1]):  # it may have been cut off between the answer and its end
        return False
    epochs, patience = training.settings.epochs, training.settings.patience

    def on_batches(epoch: int, done: int, total: int) -> None:
        reporter.batches(epoch, epochs, done, total)

    for record in fit.epochs(epochs, on_batches, patience=patience):
        training.place.save(training.checkpoint, fit.snapshot())  # first: what is logged is never logged again
        store.log_epoch(training.run_id, record)
        reporter.epoch(record, epochs)
        if not goes_on(record):
            return False
    return True


def _log_history(training: Training, fit: Fit) -> None:
    run_id, settings, data = training.run_id, training.settings, training.data
    store.log_table(run_id, metrics.history(fit.history), schema.HISTORY)
    title = f"{settings.cell}, seed {settings.seed}, on {data.name}"
    curves = figures.curves(fit.history, title, colour=figures.colour_of(settings.cell))
    store.log_figure(run_id, curves, schema.CURVES)


def _log_model(training: Training, fit: Fit) -> tuple[str, float]:
    """Log the model of the kept epoch; return its id, and the temperature that it holds."""
    data = training.data
    with tempfile.TemporaryDirectory() as folder:
        own = cells.is_custom(training.settings.cell)
        classify = network.save(fit.model(), training.settings, Path(folder))
        temperature = _temperature(classify, data)
        models.discard_models(store.get_run(training.run_id))  # of an attempt that was cut off while it logged one
        model_id = models.log_model(
            Path(folder),
            data,
            name=naming.model(training.settings, data.name),
            temperature=temperature,
            needs=_needed(training) if own else None,
        )
    return model_id, temperature


def _temperature(classify: network.Classify, data: DataSet) -> float:
    """Return the temperature by the answers to the validation images of what was just saved."""
    images = data.validation.images
    parts = [images[start : start + evaluation.CHUNK] for start in range(0, len(images), evaluation.CHUNK)]
    answers = [classify(pixels=np.asarray(part, np.float32))["probabilities"] for part in parts]
    return calibration.temperature(np.asarray(data.validation.labels), np.concatenate(answers))


def _needed(training: Training) -> str:
    """Return what the Keras file of a cell of one's own needs to be opened."""
    cell = training.settings.cell
    module, _, kind = cell.partition(":")
    return (
        f"model.keras holds layers of {cell}, from {schema.CELL_FOLDER}/{custom_cells.source(cell).name} of run "
        f"{training.run_id}: from {module} import {kind}; "
        f"keras.saving.load_model('model.keras', custom_objects={{'{kind}': {kind}}}). saved_model/ needs none of it."
    )
