"""Ranges of parameters to trials: which comes next, which continues, which is best, and a page of them.

In: ranges, settings and data. Out: trials that have ended, as MLflow runs, and a page.
Imports: cells, comparison, data, digests, errors, execution, model, progress, recipes, records, settings, tracking,
training.
"""
