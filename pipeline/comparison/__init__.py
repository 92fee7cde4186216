"""Finished trainings to groups, verdicts, charts and one page.

In: runs. Out: means, verdicts, tables, figures, a page.
Imports: cells, data, digests, disk, errors, evaluation, progress, settings, tracking.
"""
