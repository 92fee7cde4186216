"""Train many runs, with local workers or on a Ray cluster.

In: settings and data. Out: MLflow runs that have ended, and events on the way.
Imports: cells, comparison, data, disk, epochs, errors, evaluation, machine, model, progress, recipes, settings,
startup, tracking, training.
"""
