"""The commands that connect several packages, one function each; other commands are functions of their packages.

In: settings and a reporter. Out: files, runs, pages, answers.
Imports: comparison, data, disk, errors, execution, kinds, machine, model, progress, recipes, results, serving,
settings, startup, tracking, training, tuning.
"""
