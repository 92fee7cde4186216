"""Search parameters: propose trials, stop bad ones, confirm the best, and report.

In: ranges, settings and data. Out: trials that have ended, as MLflow runs, and a page.
Imports: cells, comparison, data, disk, epochs, errors, evaluation, execution, model, progress, recipes, settings,
tracking, training.
"""
