"""The version of the package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pfgm_jax")
except PackageNotFoundError:  # a clone that was not installed
    __version__ = "0.0.0"
