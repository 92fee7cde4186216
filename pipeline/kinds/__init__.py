"""What an example is: an image or a sequence; how it is batched, scaled, drawn, named and given to a model.

In: examples as they are read. Out: a record of their kind, which all other packages ask.
Imports: errors, settings.
"""
