"""train(), sample(), evaluate(), likelihood() and reflow(), as in the authors' code base.

They are in pfgm_jax/run_lib.py, so that an installed package has them too.
"""

from pfgm_jax.run_lib import evaluate, likelihood, reflow, restore, sample, train

__all__ = ["evaluate", "likelihood", "reflow", "restore", "sample", "train"]
