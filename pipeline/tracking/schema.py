"""The names of metrics, tags and artifacts in MLflow runs that several modules use, and the fields of a run.

A name that only one module uses is defined there. The metrics of each epoch are the fields of
:class:`pipeline.epochs.EpochRecord`, and the params are the fields of :class:`pipeline.settings.Settings`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Metrics of an epoch.
COST = "cost"
ACCURACY = "accuracy"
VAL_COST = "val_cost"
VAL_ACCURACY = "val_accuracy"

# Metrics that are logged once.
PARAMETERS = "parameters"  # trainable weights
BEST_VAL_ACCURACY = "best_val_accuracy"
BEST_EPOCH = "best_epoch"
CPU_SECONDS = "cpu_seconds"  # CPU time of all cores in the epochs
TRAIN_SECONDS = "train_seconds"  # time of the epochs alone; the last metric that training logs
TEST_COST = "test_cost"
TEST_MACRO_F1 = "test_macro_f1"  # the mean of the classes' F1
TEST_BALANCED_ACCURACY = "test_balanced_accuracy"  # the mean of the classes' recall
TEST_ACCURACY = "test_accuracy"  # the last metric that an evaluation logs

OF_A_FINISHED_TRAINING = (TEST_ACCURACY, TEST_COST, BEST_VAL_ACCURACY, BEST_EPOCH, TRAIN_SECONDS, PARAMETERS)
"""The metrics that a run needs before it can be compared."""

CLASS_AVERAGES = (TEST_MACRO_F1, TEST_BALANCED_ACCURACY)


# Tags.
KIND = "kind"  # kind of the MLflow run: a training run, a comparison, a group of runs, or another stage
TRAINING, COMPARED, GROUP, SEARCHED, STAGE = "training", "comparison", "group", "search", "stage"
DESCRIPTION = "mlflow.note.content"  # description of the run in the UI
DESCRIPTIONS = {
    TRAINING: "One run: its parameters, its metrics per epoch, its model, and the evaluation of the model.",
    COMPARED: "A comparison. Below it is a group for each configuration, and below each group are its runs. The report "
    "is an artifact. The accuracies are the means of the leading group, which the tag `best` names.",
    GROUP: "One configuration of a comparison. `cost` is the mean of its runs' `cost` over their seeds; `cost_sd`, "
    "`cost_min` and `cost_max` are the standard deviation, minimum and maximum. Other metrics have the same names.",
    SEARCHED: "A search. Below it is a run for each trial, and its page is an artifact. The tag `best_run_id` names "
    "the best trial.",
    STAGE: "A command of `mlflow run` that trained nothing. Its results are in the run above this one, or in files.",
}
"""Descriptions of the kinds of runs, shown in the UI."""
OF_EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI treats it as generative AI
    DESCRIPTION: """Recurrent networks that classify images and sequences, which they read step by step.

The tag `kind` is `training` for a training run, `comparison` for a comparison of several, and `group` for the means of
one configuration over seeds. Tick the groups of a comparison, then *Compare*: each cell is one line.

| metric | meaning |
| --- | --- |
| `cost`, `accuracy` | on the training examples in an epoch: mean cross-entropy in nats, fraction of correct answers |
| `val_cost`, `val_accuracy` | on the validation examples after the epoch |
| `best_val_accuracy`, `best_epoch` | of the epoch whose weights are kept |
| `test_cost`, `test_accuracy` | of the kept weights on the test examples, which are used for nothing else |
| `epoch_seconds`, `train_seconds` | time of training alone, without validation and logging |
| `cpu_seconds` | CPU time of all cores in the epochs, which other processes hardly change |
| `…_sd`, `…_min`, `…_max` | of a group: standard deviation, minimum, maximum over its seeds |
""",
}
"""The tags of an experiment that the pipeline uses."""
FINGERPRINT = "fingerprint"  # identifies runs with equal numbers
CHECKPOINT = "checkpoint"  # name of its checkpoint on one machine; ON_SERVER: its files are artifacts of the run
ON_SERVER = "server"
DATASET = "dataset"  # name of the data, determined by its content
DATASET_DIGEST = "dataset_digest"
MACHINE = "machine"
CORES = "cores"  # number of cores that the run used
ERROR = "error"  # reason for a failure
MEMBER_OF = "comparison."  # prefix, before the id of a comparison that trained or reused the run
BEST_TRIAL, BEST_RUN = "best_trial", "best_run_id"  # tags of a search: name and run of the best trial
TRIAL = "trial."  # prefix in a search, before a number: run id and parameters of the trial, as JSON
PRUNED = "pruned"  # a search ended the run early because others were ahead: it has no model
VERSION = "version."  # prefix, before the name of a package
CELL_FILE = "cell_file"  # the SHA-256 of the file of a custom cell
COMMIT = "mlflow.source.git.commit"
PARENT = "mlflow.parentRunId"

# Artifacts.
HISTORY = "training/history.csv"
PER_CLASS = "evaluation/per_class.csv"
PREDICTIONS = "evaluation/predictions.parquet"
COMPARISON_FOLDER = "comparison"
SEARCH_FOLDER = "search"
MODEL = "model"  # the logged model in URIs such as ``runs:/RUN_ID/model``, which do not contain its real name


COMMAND_OPTIONS = frozenset({"config", "force", "new", "quiet", "register", "resume", "run_id", "trust", "verbose"})
"""Options of commands, which `mlflow run` logs as params although they are not parameters of a run."""


def of_kind(kind: str) -> dict[str, str]:
    """Return the tags of a kind of run: the kind and its description."""
    return {KIND: kind, DESCRIPTION: DESCRIPTIONS[kind]}


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """An MLflow run: a training run, a comparison, or a run that ``mlflow run`` opened for a stage.

    Attributes:
        run_id: its id.
        experiment_id: id of its experiment.
        name: its name, such as ``gru-s1``.
        status: its status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        started: start time in milliseconds since 1970.
        ended: end time in the same unit; None while it runs.
        params: text by name.
        metrics: last value by name.
        tags: text by name.
        is_deleted: whether it was deleted in MLflow, which keeps deleted runs.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    started: int
    ended: int | None
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    is_deleted: bool

    @property
    def has_remote_checkpoint(self) -> bool:
        """Whether its checkpoint is an artifact of the run, so that any machine can resume it."""
        return self.tags.get(CHECKPOINT) == ON_SERVER

    @property
    def checkpoint(self) -> str:
        """The name of its checkpoint in the store that keeps it; empty if it has none."""
        return self.run_id if self.has_remote_checkpoint else self.tags.get(CHECKPOINT, "")

    @property
    def is_training(self) -> bool:
        """Whether it is a training run, rather than a comparison, a search or another stage."""
        return "cell" in self.params and "seed" in self.params and self.tags.get(KIND, TRAINING) == TRAINING

    @property
    def is_trained(self) -> bool:
        """Whether its training has ended, so that it no longer needs a checkpoint."""
        return TRAIN_SECONDS in self.metrics

    @property
    def is_pruned(self) -> bool:
        """Whether a search ended it early, so that it has a history but no model."""
        return PRUNED in self.tags

    @property
    def is_evaluated(self) -> bool:
        """Whether its evaluation has also ended."""
        return TEST_ACCURACY in self.metrics

    @property
    def missing(self) -> list[str]:
        """The missing metrics without which it cannot be compared."""
        return [name for name in OF_A_FINISHED_TRAINING if name not in self.metrics]

    @property
    def trials(self) -> dict[int, dict[str, Any]]:
        """For a search: the run id, the parameters and the reuse of each trial, by number."""
        found = {tag.removeprefix(TRIAL): text for tag, text in self.tags.items() if tag.startswith(TRIAL)}
        return {int(number): json.loads(text) for number, text in found.items()}
