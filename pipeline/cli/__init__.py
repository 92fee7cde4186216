"""The command line and what a user sees in a terminal: options, a file of them, progress, errors.

In: arguments, what a stage reports. Out: parameters, lines on the terminal, an exit code.
Imports: commands, errors, progress, records, settings, startup, tracking.
"""
