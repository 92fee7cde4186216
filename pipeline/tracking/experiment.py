"""The experiment that runs go into: the UI opens it on the side of model training, and says what its columns mean."""

from functools import cache

from pipeline.tracking import schema
from pipeline.tracking.connection import client

KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag by which MLflow's UI tells experiments of models from those of generative AI."""

DESCRIPTION = """Recurrent networks that read images row by row.

**Runs**, by their tag `kind`: a `training`; a `comparison` of several; between the two a `group` for each
configuration, with means over seeds. Tick the groups of a comparison, then *Compare*: each cell is one line.

| metric | what it is |
| --- | --- |
| `cost`, `accuracy` | of the training images in an epoch: mean cross-entropy in nats, share that is right |
| `val_cost`, `val_accuracy` | of the validation images after the epoch, by the weights as they stand |
| `best_val_accuracy`, `best_epoch` | of the epoch whose weights are kept |
| `test_cost`, `test_accuracy` | of the kept weights on the test images, which decide nothing |
| `epoch_seconds`, `train_seconds` | of training alone, without validation and logging |
| `cpu_seconds` | processor time of all cores in the epochs: equal on a busy machine and a quiet one, nearly |
| `…_sd`, `…_min`, `…_max` | of a group: standard deviation, lowest, highest over its seeds |
"""


@cache
def describe(experiment_id: str) -> None:
    """Say of an experiment what it is, once; what a person has said of it stays."""
    tags = client().get_experiment(experiment_id).tags
    for name, text in ((KIND, MODEL_TRAINING), (schema.DESCRIPTION, DESCRIPTION)):
        if name not in tags:
            client().set_experiment_tag(experiment_id, name, text)
