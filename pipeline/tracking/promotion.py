"""Promotion and rollback of registered models.

The alias ``champion`` names the version that is served, ``previous`` the one before it. The tag ``promotion`` of a
version holds the outcome of :func:`judge`; its description also holds the reason.

MLflow has no transaction over two aliases. So the model is first loaded and tested, then the champion is read, then
``previous`` moves, then ``champion``. If this is interrupted, ``champion`` names the old or the new version, which
can both be served, and the same command completes the promotion. Of two simultaneous promotions the better version
stays, unless both move the alias at the same moment.

pipeline promote --run-id 4fdc…
pipeline promote --rollback --name mnist-gru
mlflow models serve -m models:/mnist-gru@champion
"""

import math
import shlex
from contextlib import suppress
from dataclasses import dataclass

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.disk import SHORT
from pipeline.errors import TrackingError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import command
from pipeline.tracking import connection, lifecycle, models, schema, store
from pipeline.tracking.connection import client, explained

FORBIDDEN = "/\\:@?#%'"
"""Characters with a special meaning in a URI, a path, or MLflow's search."""

LONGEST = 256  # maximum length of a name in MLflow's database


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """The result of a promotion: the version of the run's model, whether it is champion now, and why."""

    version: ModelVersion
    champion: bool
    reason: str


# --- deciding -------------------------------------------------------------------------------------------------------


def promote(
    reporter: Reporter,
    run_id: str | None,
    name: str | None = None,
    *,
    force: bool = False,
    rollback: bool = False,
    trust: bool = False,
) -> Promotion:
    """Register the model of a run, and make it champion if it is better than the present champion on the same data.

    The arguments are the options of the command. The default ``name`` is the name of the run's logged model.

    Raises:
        TrackingError: there is no such run or model, or its model does not serve.
        UsageError: no run is named, the champion was chosen on other data, or the model is not of this pipeline.
    """
    if rollback:
        return _roll_back(reporter, name, trust=trust)
    if run_id is None:
        raise UsageError("run_id: needs the ID of the run to promote. `pipeline runs` lists the runs.")
    connection.connect(reporter.note)
    candidate = _register(store.get_run(run_id), name)
    models.check_serves(_address(candidate), trust=trust)
    champion = _aliases(candidate.name).get("champion")
    if champion and champion.version == candidate.version:
        return _report(candidate, candidate, "it was before", reporter)
    outcome, reason = judge(candidate, champion, force=force)
    record(candidate, outcome, reason)
    if outcome == "refused":
        forced = command("promote", run_id=run_id, name=candidate.name, force=True)
        raise UsageError(
            f"force: {reason}. Version {candidate.version} is registered. To make it champion: `{forced}`."
        )
    if champion and outcome == "not promoted":
        return _report(candidate, champion, reason, reporter)
    if champion:
        move("previous", champion)
    move("champion", candidate)
    return _report(candidate, candidate, reason, reporter)


def conclude(reporter: Reporter, run_id: str, what: str, *, register: str | None = None, best: str = "") -> str:
    """Return the id of the run with the results of a command, after saying where they are.

    Args:
        reporter: shows the result of the promotion, and the place.
        run_id: the id.
        what: what the run holds.
        register: the name under which to promote a model; None: none.
        best: the id of the run of that model; by default the run itself.
    """
    if register is not None:
        promote(reporter, best or run_id, register)
    reporter.result(lifecycle.where(run_id, what))
    return run_id


def _roll_back(reporter: Reporter, name: str | None, *, trust: bool) -> Promotion:
    """Swap ``champion`` and ``previous``."""
    if name is None:
        raise UsageError("name: needs the name of the registered model to roll back, such as mnist-gru.")
    connection.connect(reporter.note)
    aliases = _aliases(name)
    champion, previous = aliases.get("champion"), aliases.get("previous")
    if champion is None or previous is None or champion.version == previous.version:
        raise TrackingError(f"name: must be a model with a previous champion; {name} has none.")
    models.check_serves(_address(previous), trust=trust)
    record(champion, "set aside", f"rolled back to version {previous.version}")
    reason = f"rolled back from version {champion.version}"
    record(previous, "promoted", reason)
    move("champion", previous)  # first, so that an interruption here loses only the way back, not the rollback
    move("previous", champion)
    return _report(previous, previous, reason, reporter)


def judge(candidate: ModelVersion, champion: ModelVersion | None, *, force: bool) -> tuple[str, str]:
    """Return the outcome for a candidate, ``promoted``, ``not promoted`` or ``refused``, and the reason.

    A better one on the same data is promoted; one on other data is refused.
    """
    accuracy, digest = _recorded(candidate)
    said = f"validation accuracy {accuracy:.2%}"
    if champion is None:
        return "promoted", f"{said}, the first champion"
    to_beat, chosen_on = _recorded(champion)
    if digest != chosen_on:
        outcome, data = "refused", f"the data {chosen_on[:SHORT] or '(none recorded)'}"
        reason = f"version {champion.version} was chosen on {data}, version {candidate.version} on {digest[:SHORT]}"
    else:
        outcome, beats = ("promoted", "beats") if accuracy > to_beat else ("not promoted", "does not beat")
        reason = f"{said} {beats} {to_beat:.2%}, of version {champion.version} on the same data"
    return ("promoted", f"forced: {reason}") if force and outcome != "promoted" else (outcome, reason)


def _recorded(version: ModelVersion) -> tuple[float, str]:
    """Return the validation accuracy of a version, NaN if unknown, and the digest of its data, empty if unknown."""
    return float(version.tags.get(schema.BEST_VAL_ACCURACY, math.nan)), version.tags.get(schema.DATASET_DIGEST, "")


def _address(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"


def _report(version: ModelVersion, champion: ModelVersion, reason: str, reporter: Reporter) -> Promotion:
    """Show the result, and return it."""
    subject, address = f"Version {version.version} of {version.name}", shlex.quote(f"models:/{version.name}@champion")
    if is_champion := version.version == champion.version:
        reporter.result(
            f"{subject} is champion: {reason}. Serve it with: mlflow models serve -m {address} --env-manager uv"
        )
    else:
        reporter.result(f"{subject} is not champion; version {champion.version} is: {reason}.")
    return Promotion(version=version, champion=is_champion, reason=reason)


# --- MLflow's registry ----------------------------------------------------------------------------------------------


def check_name(name: str | None) -> None:
    """Check that a name, if there is one, is valid in a URI such as ``models:/<name>@champion``, and after ``--name``.

    MLflow itself registers names that are invalid in a URI: it reads ``?`` and ``#`` as the end of a path.

    Raises:
        UsageError: it is not valid.
    """
    if name is None:
        return
    is_plain = name.isprintable() and name == name.strip() and not name.startswith("-")
    if not is_plain or name in ("", ".", "..") or set(name) & set(FORBIDDEN) or len(name) > LONGEST:
        raise UsageError(
            f"name: must have at most {LONGEST} characters, none of {' '.join(FORBIDDEN)}, no - at the start and no "
            f"blanks at the ends; got {name[:LONGEST]!r}. Use a name such as mnist-gru."
        )


def _register(run: schema.TrackedRun, name: str | None) -> ModelVersion:
    """Return the version that holds the model of a run; it is created only once.

    Raises:
        TrackingError: the run has no model or no validation accuracy.
        UsageError: the name is not valid.
    """
    accuracy, digest = run.metrics.get(schema.BEST_VAL_ACCURACY), run.tags.get(schema.DATASET_DIGEST)
    if accuracy is None or digest is None:
        raise TrackingError(
            f"run_id: must be a run that has finished training; run {run.run_id} has no best_val_accuracy. "
            f"Resume it (`{command('run', resume=run.run_id)}`), or choose another run."
        )
    model = models.of(run)
    name = model.name if name is None else name
    check_name(name)
    with explained(f"The model could not be registered as {name!r}", check="the permissions of this user"):
        with suppress(MlflowException):  # it exists; any other problem also stops the next request
            client().create_registered_model(name)
        query = f"name = '{name}' and run_id = '{run.run_id}'"
        if known := connection.retried(mlflow.search_model_versions, filter_string=query):
            return min(known, key=lambda version: int(version.version))
        tags = {schema.BEST_VAL_ACCURACY: repr(accuracy), schema.DATASET_DIGEST: digest}
        return client().create_model_version(name, model.model_uri, run.run_id, tags, model_id=model.model_id)


def _aliases(name: str) -> dict[str, ModelVersion]:
    """Return the version that each alias of a registered model names.

    Raises:
        TrackingError: there is no such model.
    """
    with explained(f"name: must be a registered model of this tracking server; got {name!r}"):
        aliases = client().get_registered_model(name).aliases
        return {alias: client().get_model_version(name, number) for alias, number in aliases.items()}


def move(alias: str, version: ModelVersion) -> None:
    """Move an alias to a version."""
    client().set_registered_model_alias(version.name, alias, version.version)


def record(version: ModelVersion, outcome: str, reason: str) -> None:
    """Describe a version by the outcome and its reason, and tag it with the outcome."""
    client().update_model_version(version.name, version.version, description=f"{outcome.capitalize()}: {reason}.")
    client().set_model_version_tag(version.name, version.version, "promotion", outcome)
