"""What an example is, an image or a sequence: batching, scaling, drawing, names, first layers.

In: examples as they are read. Out: a record of their kind, which all other packages use.
Imports: errors, settings.
"""
