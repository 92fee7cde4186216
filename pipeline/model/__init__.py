"""From settings to a trained model, without MLflow.

In: settings and splits. Out: a record per epoch, and the model of the kept epoch.
Imports: cells, data, epochs, errors, kinds, machine, settings, startup.
"""
