"""The kinds of hostile tests: a module each, whose `cases()` lists them."""

import importlib
import math

KINDS = ("bad_inputs", "damages", "interruptions", "malicious_files")


def cases_of(kind):
    """All cases of a kind, in the order in which its module lists them."""
    return importlib.import_module(f"tests.hostile.{kind}").cases()


def every(cases, share):
    """A share of the cases, evenly spread."""
    count = math.ceil(len(cases) * share)
    return [cases[i * len(cases) // count] for i in range(count)]
