"""One training as an MLflow run: epochs, model and evaluation; can be interrupted anywhere and resumed."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from pipeline.tracking import lifecycle, models, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import evaluation, fingerprints, naming, resuming
from pipeline.training.checkpoints import CheckpointStore, open_store

ShouldContinue = Callable[[EpochRecord], bool]
"""Receives each epoch, and returns whether to train another."""


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run that this process trains.

    Attributes:
        run: the MLflow run at the time when it was opened.
        settings: its parameters.
        data: its data.
    """

    run: TrackedRun
    settings: Settings
    data: DataSet

    @property
    def run_id(self) -> str:
        """The id of the MLflow run."""
        return self.run.run_id


@contextmanager
def open_run(
    settings: Settings,
    data: DataSet,
    *,
    name: str | None = None,
    parent: str | None = None,
    resume: TrackedRun | None = None,
    cores: int | None = None,
    force: bool = False,
    tested: bool = True,
    remote: bool = False,
) -> Iterator[OpenRun]:
    """Open the run of a training, lock it, and log what is known before; remove its checkpoint when it has finished.

    Args:
        settings: the parameters.
        data: what it trains on.
        name: of the run; by default from :mod:`pipeline.training.naming`.
        parent: the id of the parent run, if any.
        resume: the run to resume; by default a new one.
        cores: it may use; by default all.
        force: train even if the network does not fit into the memory.
        tested: whether the test images are an input of the run.
        remote: whether this is a node of a cluster, see :func:`pipeline.training.resuming.open_run`.
    """
    if not force:
        memory.check(settings, data)
    name, own = name or naming.training(settings, data.name), fingerprints.of(settings, data)
    with resuming.open_run(
        schema.TRAINING, name, own, data, data_dir=settings.data_dir, resume=resume, remote=remote, parent=parent
    ) as run:
        store.log_parameters(run, fingerprints.parameters(settings, data))
        store.log_tags(run.run_id, {schema.CORES: str(min(cores or usable_cores(), settings.shards))})
        lifecycle.log_origin(run, data, gpus=startup.gpus(), tested=tested)
        _log_cell(run.run_id, settings.cell)
        yield OpenRun(run=run, settings=settings, data=data)


def _log_cell(run_id: str, cell: str) -> None:
    """Log the file of a custom cell with the run."""
    if cells.is_custom(cell):
        file = custom_cells.source(cell)
        store.write_file(run_id, f"{schema.CELL_FOLDER}/{file.name}", file.content)
        store.log_tags(run_id, {schema.CELL_FILE: file.digest})


def evaluate(opened: OpenRun, reporter: Reporter) -> None:
    """Evaluate the model of an open run, unless the run was evaluated before it was resumed."""
    if not opened.run.is_evaluated:
        evaluation.evaluate(opened.run_id, opened.data, reporter)


def train(opened: OpenRun, reporter: Reporter, should_continue: ShouldContinue = lambda record: True) -> bool:
    """Train the remaining epochs; log the history and, unless the run is pruned, the model of the kept epoch.

    Args:
        opened: the run.
        reporter: shows the progress.
        should_continue: receives each epoch; if it returns False, the run is pruned: it has a history but no model.

    Returns:
        Whether the run has a model.

    Raises:
        DataError: its checkpoint is damaged, or cannot be written.
        TrainingError: a cost is not finite.
    """
    if opened.run.is_trained:
        return True
    fit = Fit(Trainer.of(opened.settings, opened.data))
    store.log_missing_metrics(opened.run, {schema.PARAMETERS: fit.trainer.model.count_params()})
    is_pruned = not _train_epochs(opened, fit, reporter, should_continue)
    _log_history(opened, fit)
    best = records.kept(fit.history)
    reached = {schema.BEST_VAL_ACCURACY: best.val_accuracy, schema.BEST_EPOCH: best.epoch}
    reached |= {schema.STOPPED_EPOCH: len(fit.history)} if len(fit.history) < opened.settings.epochs else {}
    if is_pruned:
        store.log_missing_metrics(opened.run, reached)
        store.log_tags(opened.run_id, {schema.PRUNED: "true"})
        return False
    model_id, temperature = _log_model(opened, fit)
    summary = reached | {
        schema.TEMPERATURE: temperature,
        schema.SECONDS_TRAIN: fit.seconds,
        schema.CPU_SECONDS: sum(record.epoch_cpu_seconds for record in fit.history),
        schema.TRAIN_SECONDS: sum(record.epoch_seconds for record in fit.history),
    }
    subject = lifecycle.subject(model_id, opened.data, "training")
    store.log_missing_metrics(opened.run, summary, subject)
    reporter.note(f"Kept the weights of epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}.")
    return True


def _restore(opened: OpenRun, checkpoints: CheckpointStore, fit: Fit, reporter: Reporter) -> None:
    """Restore the last checkpoint, if there is one, and log the epochs that the run does not have."""
    if snapshot := checkpoints.load(opened.run.checkpoint):
        fit.restore(snapshot)
        store.log_missing_epochs(opened.run_id, fit.history)
        epochs = opened.settings.epochs
        reporter.note(f"Resumed run {opened.run_id} after epoch {len(fit.history)} of {epochs}.")


def _train_epochs(opened: OpenRun, fit: Fit, reporter: Reporter, should_continue: ShouldContinue) -> bool:
    """Train the remaining epochs; return False if ``should_continue`` ended the run."""
    run, epochs = opened.run, opened.settings.epochs
    checkpoints = open_store(opened.settings.data_dir, remote=run.has_remote_checkpoint)
    _restore(opened, checkpoints, fit, reporter)
    if fit.history and not should_continue(fit.history[-1]):  # interrupted between the answer and the end
        return False

    def on_batches(epoch: int, done: int, total: int) -> None:
        reporter.batches(epoch, epochs, done, total)

    for record in fit.epochs(epochs, on_batches, patience=opened.settings.patience):
        checkpoints.save(run.checkpoint, fit.snapshot())  # first: what is logged is never logged again
        store.log_epoch(run.run_id, record)
        reporter.epoch(record, epochs)
        if not should_continue(record):
            return False
    return True


def _log_history(opened: OpenRun, fit: Fit) -> None:
    run_id, settings, data = opened.run_id, opened.settings, opened.data
    store.log_table(run_id, metrics.history(fit.history), schema.HISTORY)
    title = f"{settings.cell}, seed {settings.seed}, on {data.name}"
    curves = figures.curves(fit.history, title, colour=figures.colour_of(settings.cell))
    store.log_figure(run_id, curves, schema.CURVES)


def _log_model(opened: OpenRun, fit: Fit) -> tuple[str, float]:
    """Log the model of the kept epoch; return its id and its temperature."""
    data = opened.data
    with tempfile.TemporaryDirectory() as folder:
        classify = network.save(fit.model(), opened.settings, data.kind, Path(folder))
        temperature = _temperature(classify, data)
        model_id = models.log_model(
            Path(folder),
            data,
            name=naming.model(opened.settings, data.name),
            temperature=temperature,
            needs=_needed(opened) if cells.is_custom(opened.settings.cell) else None,
        )
    models.discard_models(opened.run, keep=model_id)  # those of attempts that were interrupted meanwhile
    return model_id, temperature


def _temperature(classify: network.Classify, data: DataSet) -> float:
    """Return the temperature that fits the answers of the saved network to the validation examples."""
    examples = data.validation.examples
    parts = [examples[start : start + evaluation.CHUNK] for start in range(0, len(examples), evaluation.CHUNK)]
    answers = [classify(np.asarray(part, np.float32))["probabilities"] for part in parts]
    return calibration.temperature(np.asarray(data.validation.labels), np.concatenate(answers))


def _needed(opened: OpenRun) -> str:
    """Return instructions to open the Keras file of a custom cell."""
    cell = opened.settings.cell
    module, _, kind = cell.partition(":")
    return (
        f"model.keras holds layers of {cell}, from {schema.CELL_FOLDER}/{custom_cells.source(cell).name} of run "
        f"{opened.run_id}: from {module} import {kind}; "
        f"keras.saving.load_model('model.keras', custom_objects={{'{kind}': {kind}}}). saved_model/ needs none of it."
    )
