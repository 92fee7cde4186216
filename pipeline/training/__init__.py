"""Train one run: epochs, evaluation, checkpoints, and resuming after an interruption.

In: settings and data. Out: an MLflow run that has ended.
Imports: cells, custom_cells, data, digests, disk, errors, evaluation, kinds, machine, model, progress, recipes,
records, settings, startup, tracking.
"""
