"""The commands: one function each, which connects the packages.

In: settings and a reporter. Out: what the command leaves: files, runs, pages, answers.
Imports: comparison, data, disk, errors, execution, kinds, machine, model, progress, recipes, results, serving,
settings, startup, tracking, training, tuning.
"""
