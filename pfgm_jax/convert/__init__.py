"""Converts checkpoints of the authors' PyTorch release to parameters of our networks.

    python -m pfgm_jax.convert FILE.pth --config configs/cifar10.py --workdir DIR

writes a workdir that every mode accepts, including training, because the optimiser's moments are converted too. Nothing
in the file is executed, and torch is not needed.
"""

from etils import epy

# When they are first used, so that `--help` does not wait for JAX.
with epy.lazy_api_imports(globals()):
    from pfgm_jax.convert.workdirs import convert_checkpoint, convert_to_workdir

__all__ = ["convert_checkpoint", "convert_to_workdir"]
