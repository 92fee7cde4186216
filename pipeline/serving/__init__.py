"""Answer with a logged model: for files, on a cluster, and over HTTP.

In: a model, pictures. Out: labels and probabilities.
Imports: data, disk, errors, evaluation, execution, kinds, machine, progress, settings, startup, tracking.
"""
