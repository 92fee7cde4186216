"""The kinds of examples, images and sequences: batching, scaling, drawing, names, first layers.

In: examples as they are read. Out: a record of their kind, which all other packages use.
Imports: errors, settings.
"""
