"""Shapes and types of annotated functions are checked throughout the tests."""

from jaxtyping import install_import_hook

install_import_hook("pfgm_jax", "beartype.beartype")
