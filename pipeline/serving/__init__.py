"""A logged model to answers: of pictures and files, and over HTTP.

In: a model, pictures. Out: labels and probabilities.
Imports: data, errors, evaluation, settings, tracking.
"""
