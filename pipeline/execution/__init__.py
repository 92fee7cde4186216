"""Train many runs, with local workers or on a Ray cluster.

In: settings and data. Out: MLflow runs that have ended, and events on the way.
Imports: cells, comparison, custom_cells, data, digests, disk, errors, evaluation, machine, progress, recipes,
records, settings, startup, tracking, training.
"""
