"""The commands that connect several packages, one function each; other commands are functions of their packages.

In: settings and a reporter. Out: files, runs, pages.
Imports: comparison, data, disk, errors, execution, machine, model, progress, recipes, settings, startup, tracking,
training.
"""
