"""The command line and its terminal output: options, configuration files, progress, errors.

In: arguments, reports of a stage. Out: parameters, lines on the terminal, an exit code.
Imports: commands, epochs, errors, progress, settings, startup, tracking.
"""
