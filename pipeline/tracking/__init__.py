"""All code that talks to MLflow: runs, the store, logged models, the registry.

In: records, tables, figures, a saved model. Out: runs with typed fields, models that answer.
Imports: data, disk, epochs, errors, kinds, machine, progress, settings, startup.
"""
