"""Shapes and types of annotated functions are checked throughout the tests; compilations are kept between them."""

import os
import sys
from pathlib import Path

import jax
import optax
import pytest
from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook finds it by name)
from tests import compiling

# Read when the first array is made; processes that tests start inherit it.
os.environ.setdefault("XLA_FLAGS", compiling.QUICKLY)

# Of modules with arrays. pyright checks the others, whose functions are called so often that checks take long.
_ROOT = Path(__file__).parents[1]
_CHECKED = [path for path in (_ROOT / "pfgm_jax").rglob("*.py") if "from jaxtyping import" in path.read_text()]
install_import_hook(
    [".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__") for path in _CHECKED],
    "tests.typechecker.check",
)

# What JAX would broadcast or convert without a word is an error, but for powers of step counts inside Adam.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
_chain = optax.chain


def _lenient_chain(*parts):
    optimizer = _chain(*parts)

    def update(updates, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(updates, state, params)

    return optax.GradientTransformation(optimizer.init, update)


optax.chain = _lenient_chain


def pytest_collection_modifyitems(items):
    """Tests that wait for processes come first, so that others compute meanwhile."""
    items.sort(key=lambda item: item.module.__name__ not in ("tests.test_sharding", "tests.test_interruption"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of all processes that share the tests among them."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(shared_folder):
    jax.config.update("jax_compilation_cache_dir", str(shared_folder / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # For processes that tests start.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(shared_folder / "jax")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_sessionstart():
    """Leaves out what orbax does not finish when a test makes it fail: Python would report it in any later test."""
    report = sys.unraisablehook

    def report_others(problem):
        code = getattr(problem.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        # Only orbax has an event loop here.
        if not of_orbax and str(problem.exc_value) != "Event loop is closed":
            report(problem)

    sys.unraisablehook = report_others
