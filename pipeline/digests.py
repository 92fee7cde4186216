"""SHA-256 digests, as lower-case hexadecimal: of files, and of the code that made them."""

import hashlib
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
