"""MLflow's model registry: the versions of a model, what was decided about each, and the two aliases that move.

``champion`` names the version that is served, ``previous`` the one that was
served before it. What was decided stands on each version: its tag ``promotion``
holds an :data:`Outcome`, its tag ``promotion_reason`` and its description hold why.
"""

import math
from dataclasses import dataclass
from typing import Literal

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import cells
from pipeline.errors import TrackingError, UsageError
from pipeline.settings import command
from pipeline.tracking import models, schema, store
from pipeline.tracking.connection import client, explained
from pipeline.tracking.schema import TrackedRun

Alias = Literal["champion", "previous"]
Outcome = Literal["promoted", "not promoted", "refused", "set aside"]

FORBIDDEN = "/\\:@?#%'"
"""Signs that have a meaning of their own in an address, a path, or MLflow's search."""

LONGEST = 256  # characters of a name, in MLflow's database


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered version of a model.

    Attributes:
        name: of the registered model.
        number: counts up from 1.
        run_id: of the run that trained it.
        accuracy: validation accuracy of its run's kept epoch, a fraction; NaN where none is recorded.
        digest: of the data that it was trained and validated on; empty where none is recorded.
        promoted: whether it was made champion, and has not been set aside since.
    """

    name: str
    number: int
    run_id: str
    accuracy: float
    digest: str
    promoted: bool

    @property
    def address(self) -> str:
        """Its address for MLflow."""
        return f"models:/{self.name}/{self.number}"

    def beats(self, other: "Version") -> bool:
        """Return whether it is better than ``other`` on the same data; an equal is not."""
        return self.digest == other.digest and self.accuracy > other.accuracy


def check_name(name: str) -> None:
    """Check that ``name`` can stand in an address such as ``models:/<name>@champion``, and after ``--name``.

    MLflow itself registers names that no address of its own can hold: it reads ``?`` and ``#`` as the end of a path.

    Raises:
        UsageError: it cannot.
    """
    problem = (
        not name.isprintable()
        or name != name.strip()
        or name in ("", ".", "..")
        or name.startswith("-")
        or any(sign in name for sign in FORBIDDEN)
        or len(name) > LONGEST
    )
    if problem:
        raise UsageError(
            f"name: expected a name without {' '.join(FORBIDDEN)}, of at most {LONGEST} characters, with no - at its "
            f"start and no blank at its ends, received {name[:LONGEST]!r}. Take one such as mnist-gru."
        )


def default_name(run: TrackedRun) -> str:
    """Return ``<dataset>-<cell>`` of a training run.

    Raises:
        TrackingError: it is not one.
    """
    try:
        return f"{run.tags[schema.DATASET]}-{cells.plain(run.params['cell'])}"
    except KeyError:
        raise TrackingError(f"run_id: expected a training run of this pipeline, received {run.run_id!r}.") from None


def register(run_id: str, name: str | None) -> Version:
    """Return the version that holds the model of a run; the same one each time.

    Args:
        run_id: of a run that has ended its training.
        name: of the registered model; by default ``<dataset>-<cell>``.

    Raises:
        TrackingError: there is no such run, or it holds no model or no validation accuracy.
        UsageError: the name cannot be one.
    """
    run = store.get_run(run_id)
    accuracy, digest = run.metrics.get(schema.BEST_VAL_ACCURACY), run.tags.get(schema.DATASET_DIGEST)
    if accuracy is None or digest is None:
        raise TrackingError(
            f"run_id: expected a run that has ended its training, received {run_id!r}, which has no best_val_accuracy. "
            f"Go on with it (`{command('run', resume=run_id)}`), or take another."
        )
    model_id = models.id_of(run_id)
    name = default_name(run) if name is None else name
    check_name(name)
    with explained(f"name: expected a registered model of this tracking server, received {name!r}"):
        _make(name)
        if not _versions_of_run(name, run_id):
            tags = {"best_val_accuracy": repr(accuracy), "dataset_digest": digest}
            source = f"models:/{model_id}"
            made = client().create_model_version(name, source, run_id, tags, model_id=model_id)
            if int(made.version) != _versions_of_run(name, run_id)[0].number:  # another process was at it, too
                client().delete_model_version(name, made.version)
        return _versions_of_run(name, run_id)[0]


def with_alias(name: str, alias: Alias) -> Version | None:
    """Return the version that an alias names; None where it names none."""
    with explained(f"name: expected a registered model of this tracking server, received {name!r}"):
        number = client().get_registered_model(name).aliases.get(alias)
        return _version(client().get_model_version(name, number)) if number else None


def promoted(name: str) -> list[Version]:
    """Return the versions that were made champion and not set aside since, the oldest first."""
    with explained(f"name: expected a registered model of this tracking server, received {name!r}"):
        return [version for version in _search(f"name = '{name}'") if version.promoted]


def move(alias: Alias, version: Version) -> None:
    """Let an alias name a version, in one step."""
    with explained(f"The alias {alias} did not move to version {version.number} of {version.name}"):
        client().set_registered_model_alias(version.name, alias, str(version.number))


def record(version: Version, outcome: Outcome, reason: str) -> None:
    """Write on a version what was decided about it, and why."""
    number = str(version.number)
    with explained(f"Version {number} of {version.name} could not be described"):
        client().update_model_version(version.name, number, description=f"{outcome.capitalize()}: {reason}.")
        client().set_model_version_tag(version.name, number, "promotion_reason", reason)
        client().set_model_version_tag(version.name, number, "promotion", outcome)


def _make(name: str) -> None:
    """Make the registered model, unless it is there."""
    try:
        client().create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions_of_run(name: str, run_id: str) -> list[Version]:
    return _search(f"name = '{name}' and run_id = '{run_id}'")


def _search(filter_string: str) -> list[Version]:
    """Return the versions that MLflow finds, the oldest first."""
    found, token = [], None
    while True:
        page = client().search_model_versions(filter_string, page_token=token)
        found += [_version(entity) for entity in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: version.number)


def _version(entity: ModelVersion) -> Version:
    return Version(
        name=entity.name,
        number=int(entity.version),
        run_id=entity.run_id or "",
        accuracy=float(entity.tags.get("best_val_accuracy", math.nan)),
        digest=entity.tags.get("dataset_digest", ""),
        promoted=entity.tags.get("promotion") == "promoted",
    )
