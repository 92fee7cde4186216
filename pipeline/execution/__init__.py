"""Train many runs, with local workers or on a Ray cluster.

In: settings and data. Out: MLflow runs that have ended, and events on the way.
Imports: cells, comparison, custom_cells, data, disk, epochs, errors, evaluation, machine, progress, recipes, settings,
startup, tracking, training.
"""
