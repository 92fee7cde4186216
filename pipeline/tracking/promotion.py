"""Which version of a model is served: the better one takes over, and a rollback goes back to the one before.

The alias ``champion`` names what is served, ``previous`` what was before it.
MLflow moves one alias at a time and knows no transaction over two, nor over
reading one and moving it. Two rules take the place of transactions:

- A version's model is loaded and asked before anything names it; then it is
  marked as promoted, then ``previous`` moves, then ``champion``. Cut off at any
  point, ``champion`` names the old version or the new one, and both serve.
- Marks stay. Whoever has moved ``champion`` looks afterwards whether a version
  with a mark is better on the same data, and moves it on to that one. Of two
  promotions at once, on one machine or two, each marks its version before it
  moves the alias: the one that moves last sees both marks, and the better
  version stays. What was cut off between its mark and its move is ended by
  the next promotion in the same way.

A rollback, and a promotion by force, take the marks of the better versions away.
"""

import shlex
from dataclasses import dataclass

from pipeline.digests import SHORT
from pipeline.errors import PipelineError, TrackingError, UsageError
from pipeline.progress import Reporter
from pipeline.settings import command
from pipeline.tracking import classifier, connection, registry, store
from pipeline.tracking.registry import Outcome, Version


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to be done with a candidate, and why."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What came of it: the version of the run, whether it is champion now, and why."""

    version: Version
    champion: bool
    reason: str


def promote(
    run_id: str | None, name: str | None = None, *, force: bool = False, trust: bool = False, reporter: Reporter
) -> Promotion:
    """Register the model of a run, and make it champion if it is better than the present one on the same data.

    Args:
        run_id: of a run that has ended its training.
        name: of the registered model; by default ``<dataset>-<cell>``.
        force: make it champion also if it is not better, or was trained on other data.
        trust: load it also if its code is not of this pipeline.
        reporter: told what came of it.

    Raises:
        TrackingError: there is no such run, or its model does not serve.
        UsageError: no run is named, the present champion was chosen on other data, or the model is not of this
            pipeline.
    """
    if run_id is None:
        raise UsageError(
            "run_id: expected the run whose model is to be promoted, received none. `mlflow ui` lists them."
        )
    connection.connect(reporter.note)
    candidate = registry.register(run_id, name)
    champion = registry.with_alias(candidate.name, "champion")
    decision = judge(candidate, champion, force=force)
    if decision.outcome == "promoted":
        classifier.check_serves(candidate.address, trust=trust)
        if force:
            _set_aside_better(candidate)
        _crown(candidate, champion, decision.reason)
    elif candidate.number != (champion and champion.number):
        registry.record(candidate, decision.outcome, decision.reason)
    if decision.outcome == "refused":
        raise UsageError(
            f"force: expected the data of the present champion of {candidate.name}, received other: {decision.reason}. "
            f"The model is registered, as version {candidate.number}. To serve it all the same: "
            f"`{command('promote', run_id=run_id, name=candidate.name, force=True)}`."
        )
    return _report(candidate, _settle(candidate.name, trust=trust), decision.reason, reporter)


def rollback(name: str | None, *, run_id: str | None = None, trust: bool = False, reporter: Reporter) -> Promotion:
    """Let ``champion`` and ``previous`` change places: the version served before is served again.

    Args:
        name: of the registered model; by default that of the run.
        run_id: a run, which says only what the default is.
        trust: load it also if its code is not of this pipeline.
        reporter: told what came of it.

    Raises:
        TrackingError: there is no such model, it has no previous champion, or that one does not serve.
        UsageError: neither a name nor a run is given, or the model is not of this pipeline.
    """
    if name is None and run_id is None:
        raise UsageError("name: expected the registered model that is to be rolled back, received none.")
    connection.connect(reporter.note)
    name = name or registry.default_name(store.get_run(str(run_id)))
    champion, previous = registry.with_alias(name, "champion"), registry.with_alias(name, "previous")
    if champion is None or previous is None or champion == previous:
        raise TrackingError(f"name: expected a model with a previous champion, received {name!r}, which has none.")
    classifier.check_serves(previous.address, trust=trust)
    registry.record(champion, "set aside", f"rolled back to version {previous.number}")
    _set_aside_better(previous)
    reason = f"rolled back from version {champion.number}"
    registry.record(previous, "promoted", reason)
    registry.move("champion", previous)  # first: cut off here, the way back is lost, not the way there
    registry.move("previous", champion)
    return _report(previous, _settle(name, trust=trust), reason, reporter)


def judge(candidate: Version, champion: Version | None, *, force: bool) -> Decision:
    """Decide about a candidate: better on the same data is promoted, equal is not, other data is refused."""
    accuracy = f"validation accuracy {candidate.accuracy:.2%}"
    if champion is None:
        return Decision(outcome="promoted", reason=f"{accuracy}, the first champion")
    if candidate.number == champion.number:
        return Decision(outcome="not promoted", reason="it was before")
    if candidate.beats(champion):
        reason = f"{accuracy} beats {champion.accuracy:.2%}, of version {champion.number} on the same data"
        return Decision(outcome="promoted", reason=reason)
    same_data = candidate.digest == champion.digest
    if same_data:
        reason = f"{accuracy} does not beat {champion.accuracy:.2%}, of version {champion.number} on the same data"
    else:
        reason = (
            f"version {champion.number} was chosen on the data {champion.digest[:SHORT] or '(none recorded)'}, "
            f"version {candidate.number} on {candidate.digest[:SHORT]}"
        )
    if force:
        return Decision(outcome="promoted", reason=f"forced: {reason}")
    return Decision(outcome="not promoted" if same_data else "refused", reason=reason)


def _set_aside_better(version: Version) -> None:
    """Take the marks of the versions away that would otherwise be champion again."""
    for better in registry.promoted(version.name):
        if better.beats(version):
            registry.record(better, "set aside", f"in favour of version {version.number}")


def _crown(candidate: Version, champion: Version | None, reason: str) -> None:
    """Make a version, which serves, champion in place of ``champion``."""
    registry.record(candidate, "promoted", reason)
    if champion:
        registry.move("previous", champion)
    registry.move("champion", candidate)


def _settle(name: str, *, trust: bool) -> Version | None:
    """Move ``champion`` on to the best version that was promoted on its data, until it is that; return it."""
    while champion := registry.with_alias(name, "champion"):
        better = [version for version in registry.promoted(name) if version.beats(champion)]
        if not better:
            return champion
        best = max(better, key=lambda version: version.accuracy)
        try:
            classifier.check_serves(best.address, trust=trust)
        except PipelineError:
            registry.record(best, "set aside", "its model does not serve any more")
            continue
        registry.move("previous", champion)
        registry.move("champion", best)
    return None


def _report(version: Version, champion: Version | None, reason: str, reporter: Reporter) -> Promotion:
    """Tell what came of it."""
    is_champion = champion is not None and champion.number == version.number
    if is_champion:
        serving = f"mlflow models serve -m {shlex.quote(f'models:/{version.name}@champion')} --env-manager uv"
        reporter.result(f"Version {version.number} of {version.name} is champion: {reason}. Serve it with: {serving}")
    else:
        other = f"version {champion.number} is" if champion else "there is none"
        reporter.result(f"Version {version.number} of {version.name} is not champion, {other}: {reason}.")
    return Promotion(version=version, champion=is_champion, reason=reason)
