"""Restoring images of which something was measured, with a model that knows what images are like.

`operators` say what became of the images, `rules` how what was measured leads the samples of a method, and `method` is
the method that does so.
"""

from pfgm_jax.restoration.method import restored

__all__ = ["restored"]
