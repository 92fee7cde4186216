"""A logged model to answers: of pictures and files, here or on a cluster, and over HTTP.

In: a model, pictures. Out: labels and probabilities.
Imports: data, disk, errors, evaluation, execution, kinds, progress, settings, startup, tracking.
"""
