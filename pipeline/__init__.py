"""Train, compare and serve recurrent image classifiers with MLflow.

The command line is ``pipeline`` (``python -m pipeline``); every stage is one
function in :mod:`pipeline.stages`. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
