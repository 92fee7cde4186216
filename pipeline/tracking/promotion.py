"""Promotion and rollback of registered models.

The alias ``champion`` names the version that is served, ``previous`` the one before it. The tag ``promotion`` of a
version holds the :data:`Outcome`; its tag ``promotion_reason`` and its description hold the reason.

MLflow has no transaction over two aliases. So the model is first loaded and tested, then the champion is read again,
then ``previous`` moves, then ``champion``. If this is interrupted, ``champion`` names the old or the new version, which
can both be served, and the same command completes the promotion. Of two simultaneous promotions the better version
stays, unless both move the alias at the same moment.
"""

import math
import shlex
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import cells
from pipeline.digests import SHORT
from pipeline.errors import TrackingError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import command
from pipeline.tracking import classifier, connection, models, schema, store
from pipeline.tracking.connection import client, explained
from pipeline.tracking.schema import TrackedRun

Outcome = Literal["promoted", "not promoted", "refused", "set aside"]

FORBIDDEN = "/\\:@?#%'"
"""Characters with a special meaning in an address, a path, or MLflow's search."""

LONGEST = 256  # maximum length of a name in MLflow's database


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered version of a model.

    Attributes:
        name: name of the registered model.
        number: version number, from 1.
        run_id: id of the run that trained it.
        accuracy: validation accuracy of its run's kept epoch, a fraction; NaN if none is recorded.
        digest: digest of its training and validation data; empty if none is recorded.
    """

    name: str
    number: int
    run_id: str
    accuracy: float
    digest: str

    @property
    def address(self) -> str:
        """The address of its model."""
        return f"models:/{self.name}/{self.number}"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The result of a promotion: the version of the run, whether it is champion now, and why."""

    version: Version
    champion: bool
    reason: str


# --- deciding -------------------------------------------------------------------------------------------------------


def promote(
    run_id: str | None, name: str | None = None, *, force: bool = False, trust: bool = False, reporter: Reporter
) -> Promotion:
    """Register the model of a run, and make it champion if it is better than the present one on the same data.

    Args:
        run_id: id of a run whose training has ended.
        name: name of the registered model; by default ``<dataset>-<cell>``.
        force: make it champion even if it is not better, or was trained on other data.
        trust: run the code of a model that this pipeline did not log.
        reporter: shows the result.

    Raises:
        TrackingError: there is no such run, or its model does not serve.
        UsageError: no run is named, the champion was chosen on other data, or the model is not of this pipeline.
    """
    if run_id is None:
        raise UsageError("run_id: expected the ID of a run to promote, received none. `pipeline runs` lists the runs.")
    connection.connect(reporter.note)
    candidate = _register(store.get_run(run_id), name)
    champion, (outcome, reason) = _decided(candidate, force=force)
    if outcome == "promoted":
        classifier.check_serves(candidate.address, trust=trust)
        champion, (outcome, reason) = _decided(candidate, force=force)  # meanwhile another promotion may have ended
    if champion is None or candidate.number != champion.number:
        record(candidate, outcome, reason)
    if outcome == "refused":
        raise UsageError(
            f"force: expected the data of the present champion of {candidate.name}, received other data: {reason}. "
            f"The model is registered as version {candidate.number}. To make it champion anyway: "
            f"`{command('promote', run_id=run_id, name=candidate.name, force=True)}`."
        )
    if outcome == "promoted":
        if champion:
            move("previous", champion)
        move("champion", champion := candidate)
    return _report(candidate, champion, reason, reporter)


def rollback(name: str | None, *, run_id: str | None = None, trust: bool = False, reporter: Reporter) -> Promotion:
    """Swap ``champion`` and ``previous``: the version that was served before is served again.

    Args:
        name: name of the registered model; by default the default name for the run.
        run_id: a run, for the default name.
        trust: run the code of a model that this pipeline did not log.
        reporter: shows the result.

    Raises:
        TrackingError: there is no such model, it has no previous champion, or that one does not serve.
        UsageError: neither a name nor a run is given, or the model is not of this pipeline.
    """
    if name is None and run_id is None:
        raise UsageError("name: expected the name of the registered model to roll back, received none.")
    connection.connect(reporter.note)
    name = name or default_name(store.get_run(str(run_id)))
    aliases = _aliases(name)
    champion, previous = aliases.get("champion"), aliases.get("previous")
    if champion is None or previous is None or champion == previous:
        raise TrackingError(f"name: expected a model with a previous champion, received {name!r}, which has none.")
    classifier.check_serves(previous.address, trust=trust)
    record(champion, "set aside", f"rolled back to version {previous.number}")
    reason = f"rolled back from version {champion.number}"
    record(previous, "promoted", reason)
    move("champion", previous)  # first: if interrupted here, the rollback is done, and only its undo is lost
    move("previous", champion)
    return _report(previous, previous, reason, reporter)


def _decided(candidate: Version, *, force: bool) -> tuple[Version | None, tuple[Outcome, str]]:
    champion = _aliases(candidate.name).get("champion")
    return champion, judge(candidate, champion, force=force)


def judge(candidate: Version, champion: Version | None, *, force: bool) -> tuple[Outcome, str]:
    """Return the outcome for a candidate, and the reason: promote a better one on the same data, refuse other data."""
    accuracy = f"validation accuracy {candidate.accuracy:.2%}"
    if champion is None:
        return "promoted", f"{accuracy}, the first champion"
    if candidate.number == champion.number:
        return "not promoted", "it was before"
    compared = f"{champion.accuracy:.2%}, of version {champion.number} on the same data"
    if candidate.digest != champion.digest:
        outcome: Outcome = "refused"
        reason = (
            f"version {champion.number} was chosen on the data {champion.digest[:SHORT] or '(none recorded)'}, "
            f"version {candidate.number} on {candidate.digest[:SHORT]}"
        )
    elif candidate.accuracy > champion.accuracy:
        return "promoted", f"{accuracy} beats {compared}"
    else:
        outcome, reason = "not promoted", f"{accuracy} does not beat {compared}"
    return ("promoted", f"forced: {reason}") if force else (outcome, reason)


def _report(version: Version, champion: Version | None, reason: str, reporter: Reporter) -> Promotion:
    """Show the result, and return it."""
    is_champion = version == champion
    if is_champion:
        serving = f"mlflow models serve -m {shlex.quote(f'models:/{version.name}@champion')} --env-manager uv"
        reporter.result(f"Version {version.number} of {version.name} is champion: {reason}. Serve it with: {serving}")
    else:
        other = f"version {champion.number} is" if champion else "there is none"
        reporter.result(f"Version {version.number} of {version.name} is not champion, {other}: {reason}.")
    return Promotion(version=version, champion=is_champion, reason=reason)


# --- MLflow's registry ----------------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Check that a name is valid in an address such as ``models:/<name>@champion``, and after ``--name``.

    MLflow itself registers names that are invalid in addresses: it reads ``?`` and ``#`` as the end of a path.

    Raises:
        UsageError: it is not valid.
    """
    is_plain = name.isprintable() and name == name.strip() and not name.startswith("-")
    if not is_plain or name in ("", ".", "..") or set(name) & set(FORBIDDEN) or len(name) > LONGEST:
        raise UsageError(
            f"name: expected a name without {' '.join(FORBIDDEN)}, of at most {LONGEST} characters, without - at its "
            f"start or blanks at its ends; received {name[:LONGEST]!r}. Use a name such as mnist-gru."
        )


def default_name(run: TrackedRun) -> str:
    """Return ``<dataset>-<cell>`` of a training run.

    Raises:
        TrackingError: it is not one.
    """
    if not run.is_training or schema.DATASET not in run.tags:
        raise TrackingError(f"run_id: expected a training run of this pipeline, received {run.run_id!r}.")
    return f"{run.tags[schema.DATASET]}-{cells.plain(run.params['cell'])}"


def _register(run: TrackedRun, name: str | None) -> Version:
    """Return the version that holds the model of a run; it is created only once.

    Raises:
        TrackingError: the run holds no model or no validation accuracy.
        UsageError: the name is not valid.
    """
    accuracy, digest = run.metrics.get(schema.BEST_VAL_ACCURACY), run.tags.get(schema.DATASET_DIGEST)
    if accuracy is None or digest is None:
        raise TrackingError(
            f"run_id: expected a run whose training has ended, received {run.run_id!r}, which has no "
            f"best_val_accuracy. Resume it (`{command('run', resume=run.run_id)}`), or choose another run."
        )
    model_id = models.id_of(run)
    name = default_name(run) if name is None else name
    check_name(name)
    with explained(f"The model could not be registered as {name!r}"):
        try:
            client().create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        query = f"name = '{name}' and run_id = '{run.run_id}'"
        if known := connection.retried(mlflow.search_model_versions, filter_string=query):
            return min(map(_version, known), key=lambda version: version.number)
        tags = {"best_val_accuracy": repr(accuracy), "dataset_digest": digest}
        return _version(client().create_model_version(name, f"models:/{model_id}", run.run_id, tags, model_id=model_id))


def _aliases(name: str) -> dict[str, Version]:
    """Return the version that each alias of a registered model names.

    Raises:
        TrackingError: there is no such model.
    """
    problem = f"name: expected a registered model of this tracking server, received {name!r}"
    with explained(problem):
        try:
            aliases = client().get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = [model.name for model in client().search_registered_models()]
            listed = ", ".join(get_close_matches(name, known, cutoff=0.4) or known[:3])
            raise TrackingError(f"{problem}. The registered models are: {listed or 'none yet'}.") from None
        return {alias: _version(client().get_model_version(name, number)) for alias, number in aliases.items()}


def move(alias: Literal["champion", "previous"], version: Version) -> None:
    """Move an alias to a version."""
    with explained(f"The alias {alias} could not be moved to version {version.number} of {version.name}"):
        client().set_registered_model_alias(version.name, alias, str(version.number))


def record(version: Version, outcome: Outcome, reason: str) -> None:
    """Record the outcome and its reason on a version."""
    number = str(version.number)
    with explained(f"Version {number} of {version.name} could not be described"):
        client().update_model_version(version.name, number, description=f"{outcome.capitalize()}: {reason}.")
        client().set_model_version_tag(version.name, number, "promotion_reason", reason)
        client().set_model_version_tag(version.name, number, "promotion", outcome)


def _version(entity: ModelVersion) -> Version:
    return Version(
        name=entity.name,
        number=int(entity.version),
        run_id=entity.run_id or "",
        accuracy=float(entity.tags.get("best_val_accuracy", math.nan)),
        digest=entity.tags.get("dataset_digest", ""),
    )
