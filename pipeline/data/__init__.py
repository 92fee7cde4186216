"""Files of data to three splits: where they come from, how they are kept, how they are split.

In: the settings of the data. Out: a processed data set, memory-mapped.
Imports: digests, disk, errors, kinds, progress, settings.
"""
