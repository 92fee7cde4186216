"""Settings to a trained model, without MLflow.

In: settings and splits. Out: a record per epoch, and the model of the kept one.
Imports: cells, data, errors, machine, own_cells, records, settings.
"""
