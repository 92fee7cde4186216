"""Trainings that may be cut off at any moment, go on, and run side by side.

In: settings and data. Out: MLflow runs that have ended, and events on the way.
Imports: cells, data, digests, errors, evaluation, machine, model, own_cells, progress, recipes, records, settings,
startup, tracking.
"""
