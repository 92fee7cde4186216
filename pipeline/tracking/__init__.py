"""All code that talks to MLflow: runs, the store, logged models, the registry.

In: records, tables, figures, a saved model. Out: runs with typed fields, models that answer.
Imports: cells, data, digests, disk, errors, kinds, machine, progress, records, settings, startup.
"""
