"""What a person types and sees in a terminal: options, a file of them, progress, errors.

In: arguments, what a stage reports. Out: settings, lines on the terminal, an exit code.
Imports: errors, execution, progress, recipes, records, serving, settings, stages, startup, tracking, training,
tuning.
"""
