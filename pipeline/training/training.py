"""Train one MLflow run: epochs, model and evaluation. It can be interrupted anywhere and resumed."""

import gc
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import cells, epochs, startup
from pipeline.data.splits import DataSet
from pipeline.epochs import EpochRecord
from pipeline.errors import DataError
from pipeline.evaluation import figures, metrics
from pipeline.machine import usable_cores
from pipeline.model import custom_cells, network, preflight
from pipeline.model.trainer import Trainer
from pipeline.progress import Reporter
from pipeline.settings import Settings
from pipeline.tracking import lifecycle, models, schema, store
from pipeline.tracking.schema import TrackedRun
from pipeline.training import evaluation, identity, resuming

CELL_FOLDER = "cell"
"""The artifact folder with the file of a custom cell."""

ShouldContinue = Callable[[EpochRecord], bool]
"""Receives each epoch, and returns whether to train another."""

_latest: dict[tuple[Settings, str], Trainer] = {}
"""The last trainer of this process, by its settings without the seed and the digest of its data."""


def open_run(
    settings: Settings,
    data: DataSet,
    *,
    name: str | None = None,
    parent: str | None = None,
    resume: TrackedRun | None = None,
    cores: int | None = None,
    force: bool = False,
    remote: bool = False,
) -> AbstractContextManager[TrackedRun]:
    """Open and lock a training run, and log its origin; remove its checkpoint when it has finished.

    Args:
        settings: the parameters.
        data: the data that it trains on.
        name: name of the run; by default from :mod:`pipeline.training.identity`.
        parent: the id of the comparison or search that it is part of, if any.
        resume: the run to resume; by default a new one.
        cores: number of cores that it may use; by default all.
        force: train even if the network does not fit into the memory.
        remote: whether this is a node of a cluster, see :func:`pipeline.training.resuming.open_run`.
    """
    if not force:
        preflight.check_memory(settings, data)
    tags = lifecycle.origin(gpus=startup.gpus()) | {schema.CORES: str(min(cores or usable_cores(), settings.shards))}
    if cells.is_custom(settings.cell):
        tags[schema.CELL_FILE] = custom_cells.source(settings.cell).digest
    return resuming.open_run(
        schema.TRAINING,
        name or identity.run_name(settings, data.name),
        identity.fingerprint(settings, data),
        data,
        identity.parameters(settings, data),
        data_dir=settings.data_dir,
        resume=resume,
        remote=remote,
        tags=tags,
        parent=parent,
    )


def train(
    run: TrackedRun,
    settings: Settings,
    data: DataSet,
    reporter: Reporter,
    should_continue: ShouldContinue = lambda record: True,
) -> bool:
    """Train the remaining epochs of an open run; log the history and the model of the best epoch.

    If ``should_continue``, which receives each epoch, returns False, the run is pruned: it has a history but no model.
    Returns whether it has a model.

    Raises:
        DataError: its checkpoint is of another network, or cannot be written.
        TrainingError: a cost is not finite.
    """
    if run.is_trained:
        return True
    trainer = _trainer(settings, data)
    is_pruned = not _train_epochs(run, settings, trainer, reporter, should_continue)
    _log_history(run.run_id, trainer.history, settings, data)
    best = epochs.best(trainer.history)
    summary: dict[str, float] = {schema.BEST_VAL_ACCURACY: best.val_accuracy, schema.BEST_EPOCH: best.epoch}
    summary[schema.PARAMETERS] = trainer.model.count_params()
    summary |= {"stopped_epoch": len(trainer.history)} if len(trainer.history) < settings.epochs else {}
    if is_pruned:
        store.log_metrics(run.run_id, summary)
        store.log_tags(run.run_id, {schema.PRUNED: "true"})
        return False
    model_id, temperature = _log_model(run, settings, data, trainer)
    summary |= {
        "temperature": temperature,  # makes confidence match accuracy on the validation examples
        "seconds_train": trainer.seconds,  # including validation and logging
        schema.CPU_SECONDS: sum(record.epoch_cpu_seconds for record in trainer.history),
        schema.TRAIN_SECONDS: sum(record.epoch_seconds for record in trainer.history),
    }
    store.log_metrics(run.run_id, summary, lifecycle.subject(model_id, data, "training"))
    reporter.note(f"Kept the weights of epoch {best.epoch}: validation accuracy {best.val_accuracy:.2%}.")
    return True


def _trainer(settings: Settings, data: DataSet) -> Trainer:
    """Return a trainer before its first epoch: the last one of this process again if only the seed differs.

    Its graphs are traced already, which takes longer than a small run. The code of a custom cell may have a memory.
    """
    key = replace(settings, seed=0), data.digest
    if key in _latest:
        _latest[key].begin_again(settings)
        return _latest[key]
    if _latest:
        _latest.clear()
        gc.collect()  # it refers to itself, and the next one needs memory for its examples, too
    trainer = Trainer.of(settings, data)
    if not cells.is_custom(settings.cell):
        _latest[key] = trainer
    return trainer


def _train_epochs(
    run: TrackedRun, settings: Settings, trainer: Trainer, reporter: Reporter, should_continue: ShouldContinue
) -> bool:
    """Train the epochs after the last checkpoint; return False if ``should_continue`` ended the run."""
    checkpoint = resuming.checkpoint_of(run, settings.data_dir)
    if snapshot := checkpoint.load():
        try:
            trainer.restore(snapshot)
        except ValueError:  # its text contains all the numbers
            raise DataError(
                f"checkpoint: must be of this network; the weights in the checkpoint of run {run.run_id} have other "
                "shapes. Train again with --new."
            ) from None
        last = trainer.history[-1]
        if last.epoch not in store.history_of(run.run_id, schema.COST):  # it was interrupted after the checkpoint
            store.log_epoch(run.run_id, last)
        reporter.note(f"Resumed run {run.run_id} after epoch {len(trainer.history)} of {settings.epochs}.")
        if not should_continue(last):  # it was interrupted after this answer, before its end
            return False
    elif cells.is_custom(settings.cell):
        file = custom_cells.source(settings.cell)
        store.write_files(run.run_id, {f"{CELL_FOLDER}/{file.name}": file.content})

    def on_batches(epoch: int, done: int, total: int) -> None:
        reporter.batches(epoch, settings.epochs, done, total)

    for record in trainer.epochs(settings.epochs, on_batches, patience=settings.patience):
        checkpoint.save(trainer.snapshot())  # before logging, so that no epoch is logged twice
        store.log_epoch(run.run_id, record)
        reporter.epoch(record, settings.epochs)
        if not should_continue(record):
            return False
    return True


def _log_history(run_id: str, history: Sequence[EpochRecord], settings: Settings, data: DataSet) -> None:
    title = f"{settings.cell}, seed {settings.seed}, on {data.name}"
    curves = figures.curves(history, title, colour=figures.colour_of(settings.cell))
    store.write_files(run_id, {schema.HISTORY: metrics.history(history), "training/curves.png": curves})


def _log_model(run: TrackedRun, settings: Settings, data: DataSet, trainer: Trainer) -> tuple[str, float]:
    """Log the model of the best epoch; return its id and its temperature."""
    with tempfile.TemporaryDirectory() as folder:
        classify = network.save(trainer.best_model(), settings, data.kind, Path(folder))
        answers = evaluation.in_chunks(
            lambda examples: classify(np.asarray(examples, np.float32))["probabilities"], data.validation.examples
        )
        temperature = metrics.temperature(np.asarray(data.validation.labels), answers)
        model_id = models.log_model(
            Path(folder),
            data,
            name=f"{data.name}-{settings.cell}".replace(":", "-").replace(".", "-"),  # MLflow refuses both
            temperature=temperature,
            needs=_needed(run.run_id, settings.cell) if cells.is_custom(settings.cell) else None,
        )
    models.discard_models(run, keep=model_id)  # earlier attempts that were interrupted may have logged some
    return model_id, temperature


def _needed(run_id: str, cell: str) -> str:
    """Return instructions to open the Keras file of a custom cell."""
    module, _, kind = cell.partition(":")
    return (
        f"model.keras holds layers of {cell}, from {CELL_FOLDER}/{custom_cells.source(cell).name} of run "
        f"{run_id}: from {module} import {kind}; "
        f"keras.saving.load_model('model.keras', custom_objects={{'{kind}': {kind}}}). saved_model/ needs none of it."
    )
