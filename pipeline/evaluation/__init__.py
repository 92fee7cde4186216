"""Compute metrics, tables and figures of one run.

In: arrays and epoch records. Out: numbers, tables, figures.
Imports: cells, epochs, kinds.
"""
