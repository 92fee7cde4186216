"""Compare finished runs: groups, pairwise tests, charts, and a page.

In: runs. Out: means, tests, a recommendation, tables, charts, a page.
Imports: data, disk, errors, evaluation, progress, settings, tracking.
"""
