"""The command line: the modes of main.py, and the commands datasets, convert and metrics."""
