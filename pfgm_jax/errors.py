"""Errors that are addressed to the user: main.py prints their one sentence, without a traceback."""


class PfgmError(Exception):
    """Base of all of them."""


class InputError(PfgmError, ValueError):
    """Something that the user gave is wrong; the text names the field or file, its value and what to do."""


class TrainingError(PfgmError, RuntimeError):
    """Training cannot go on; what is on disk is good."""


class SolveError(PfgmError, RuntimeError):
    """An ODE solve did not reach its end."""


class StorageError(PfgmError, RuntimeError):
    """Something cannot be written; what is on disk is good."""


class WorkdirInUseError(InputError):
    """Another run is writing in the workdir."""
