"""Finished runs to groups, pairwise tests, charts and one page.

In: runs. Out: means, tests, a recommendation, tables, charts, a page.
Imports: cells, data, digests, disk, errors, evaluation, progress, settings, tracking.
"""
