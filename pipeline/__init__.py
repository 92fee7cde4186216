"""Train, compare and serve recurrent networks with MLflow.

The command line is ``pipeline`` (``python -m pipeline``). In Python, the same commands are functions of
:mod:`pipeline.api`: ``from pipeline import run, compare, load``. They are loaded on first use, so importing this
package imports nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import (
        compare,
        download,
        evaluate,
        load,
        predict,
        preprocess,
        promote,
        report,
        run,
        runs,
        search,
        train,
    )

__version__ = "1.0.0"
__all__ = [
    "compare",
    "download",
    "evaluate",
    "load",
    "predict",
    "preprocess",
    "promote",
    "report",
    "run",
    "runs",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    """Return a function of the API."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the names in this module, including those that are loaded on first use."""
    return sorted([*globals(), *__all__])
