"""Obtain data, store it, and split it into three parts.

In: the settings of the data. Out: a processed data set, memory-mapped.
Imports: disk, errors, kinds, progress, settings.
"""
