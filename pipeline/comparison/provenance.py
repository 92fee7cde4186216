"""Groups to what was compared, in words: parameters, data, code and machine, on which all numbers of a page depend."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from pipeline.comparison.grouping import IGNORED_PARAMS, Group, Result, configuration
from pipeline.digests import SHORT
from pipeline.settings import Settings
from pipeline.tracking import schema

MAIN = ("epochs", "hidden_units", "learning_rate", "batch_size", "recipe")
"""The parameters that every page names; others where they are not the defaults, or differ."""

UNKNOWN = "not recorded"


def conditions(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return what the numbers depend on, as pairs of a term and what it is; more than one value where they differ."""
    results = [result for group in groups for result in group.results]
    values = _values(groups)
    main = [(_spaced(name).capitalize(), _text(name, values[name])) for name in MAIN]
    others = [f"{_spaced(name)} {_text(name, values[name])}" for name in _others(values)]
    packages = sorted({name for result in results for name in result.tags if name.startswith(schema.VERSION)})
    versions = [f"{tag.removeprefix(schema.VERSION)} {_tagged(results, tag)}" for tag in packages]
    return [
        *main,
        ("Other parameters", "; ".join(others) or "the defaults"),
        ("Data set", _tagged(results, schema.DATASET)),
        ("Digest of the data", _tagged(results, schema.DATASET_DIGEST)),
        ("Test images", f"{len(results[0].labels):,}"),
        ("Machine", _tagged(results, schema.MACHINE)),
        ("Packages", ", ".join(versions) or UNKNOWN),
        ("Commit of the code", _tagged(results, schema.COMMIT)),
    ]


def in_short(groups: Sequence[Group]) -> str:
    """Return the same as one line: the main parameters, code and machine."""
    results = [result for group in groups for result in group.results]
    values = _values(groups)
    known = [f"{_spaced(name)} {_text(name, values[name])}" for name in MAIN if values[name]]
    commits = sorted({result.tags[schema.COMMIT][:SHORT] for result in results if schema.COMMIT in result.tags})
    known += [f"code {' and '.join(commits)}"] if commits else []
    machine = _tagged(results, schema.MACHINE)
    return " · ".join(known + ([machine] if machine != UNKNOWN else []))


def _values(groups: Sequence[Group]) -> dict[str, dict[str, str]]:
    """Return, of each parameter, the value of each group by its label; groups that lack it are left out."""
    values: dict[str, dict[str, str]] = {name: {} for name in MAIN}
    for group in groups:
        params = group.results[0].params
        recipe = {name: params[name] for name in ("recipe",) if name in params}
        for name, value in (dict(configuration(params)) | recipe).items():
            values.setdefault(name, {})[group.label] = value
    return values


def _others(values: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of further parameters that are worth a word."""
    default = Settings()
    defaults = dict(configuration({field.name: str(getattr(default, field.name)) for field in fields(default)}))
    names = sorted(values.keys() - {*MAIN, *IGNORED_PARAMS, "cell"})
    return [name for name in names if set(values[name].values()) != {defaults.get(name)}]


def _text(name: str, value_of: Mapping[str, str]) -> str:
    """Return one value, or such as '0.001 (rnn), 0.0025 (lstm, gru)', without labels that say it themselves."""
    labels: dict[str, list[str]] = {}
    for label, value in value_of.items():
        labels.setdefault(value, []).append(label)
    if all(f"{name} {value}" in label for label, value in value_of.items()):
        return ", ".join(labels) or UNKNOWN
    if len(labels) > 1:
        return ", ".join(f"{value} ({', '.join(of)})" for value, of in labels.items())
    return next(iter(labels))


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _tagged(results: Iterable[Result], tag: str) -> str:
    values = sorted({result.tags[tag] for result in results if tag in result.tags})
    return " and ".join(values) or UNKNOWN
