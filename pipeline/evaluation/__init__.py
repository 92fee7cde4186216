"""Labels and probabilities to numbers, tables and pictures of one training.

In: arrays and epoch records. Out: numbers, tables, figures.
Imports: cells, records.
"""
