"""Train one run: epochs, evaluation, checkpoints, and resuming after an interruption.

In: settings and data. Out: an MLflow run that has ended.
Imports: cells, data, disk, epochs, errors, evaluation, kinds, machine, model, progress, recipes, settings, startup,
tracking.
"""
