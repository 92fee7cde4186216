"""SHA-256 digests, as lower-case hexadecimal: of files, of the code that made them, of all that settles a training."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

SHORT = 8
"""Digits of a digest that a folder or data set name carries."""


def of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of the content of the file at ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def of_texts(*texts: str) -> str:
    """Return one digest of several texts, in their order."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def of_modules(*names: str) -> str:
    """Return one digest of the source of modules of this package, such as ``"idx.py"``."""
    package = Path(__file__).parent
    return of_texts(*(of_file(package / name) for name in names))


def of_package() -> str:
    """Return the version of the code that trains: a digest of all modules and the versions of TensorFlow and Keras."""
    return of_texts(*_sources(), version("tensorflow"), version("keras"))


@cache
def _sources() -> tuple[str, ...]:
    """Return the digest and the names of all modules, as they were when it was first asked for: those that run."""
    package = Path(__file__).parent
    modules = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return of_modules(*modules), *modules


def of_training(parameters: Mapping[str, object], data_digest: str) -> str:
    """Return the fingerprint of a training: two that have the same are twins, with the same numbers on one machine.

    Args:
        parameters: by name, as they apply to the data (see ``Settings.resolved``).
        data_digest: of the raw data.
    """
    settled = {name: str(value) for name, value in sorted(parameters.items()) if name not in _WITHOUT_EFFECT}
    return of_texts(json.dumps(settled), data_digest, of_package())


# Where the data lies and what it is called; what it holds is in its digest. A recipe's name is not in its values.
_WITHOUT_EFFECT = {"dataset", "source", "data_dir", "recipe"}
