"""What a start costs, keeps and says: imports, compilations, warnings of libraries; with processes of their own."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import run_lib
from pfgm_jax import cpu_kernels, models
from pfgm_jax.datasets import images
from pfgm_jax.samplers.adaptive import RK45
from tests.test_run_lib import small_digits


def python(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


COMMANDS = [
    ["main.py"],
    *(["-m", f"pfgm_jax{name}"] for name in ("", ".datasets", ".convert", ".metrics")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_needs_no_jax(command):
    done = python("-X", "importtime", *command, "--help")
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    assert "argparse" in imported and not imported & {"jax", "flax", "orbax", "diffrax", "tensorflow"}
    assert len(done.stdout) > 100


def test_training_begins_without_what_only_sampling_and_metrics_need():
    program = (
        "import sys\n"
        "from configs import digits\n"
        "from pfgm_jax import build, config as config_lib\n"
        "from pfgm_jax.sharding import Devices\n"
        "from pfgm_jax.training import loop, step\n"
        "dataset = build.load_dataset(digits.get_config())\n"
        "config = config_lib.fill_in(digits.get_config(), dataset)\n"
        "step.create_step(config, Devices.all())\n"
        "print(*{'jax', 'diffrax', 'sklearn', 'skimage'} & set(sys.modules))"
    )
    assert python("-c", program).stdout.split() == ["jax"]


@pytest.mark.parametrize("user", [{}, {"JAX_COMPILATION_CACHE_DIR": "/elsewhere"}])
def test_small_compilations_are_kept_wherever_that_is(user):
    program = (
        "import os; [os.environ.pop(name) for name in list(os.environ) if name.startswith('JAX_')]\n"
        f"os.environ.update({user!r})\n"
        "from pfgm_jax.commands import command_line\n"
        "command_line.keep_compilations()\n"
        "import jax\n"
        "print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)"
    )
    folder = user.get("JAX_COMPILATION_CACHE_DIR", "/cache/pfgm_jax/jax")
    assert python("-c", program, XDG_CACHE_HOME="/cache").stdout.split() == [folder, "0.0"]


def test_the_library_says_nothing_of_what_is_as_it_should_be(tmp_path):
    run_lib.train(small_digits(), tmp_path)
    # Pillow warns from 89 million pixels on.
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")
    program = (
        "import pathlib, sys, pfgm_jax\n"
        "from pfgm_jax.datasets import images\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "print(pfgm_jax.load(folder).step, images.own_shape(folder / 'large.png'))"
    )
    done = python("-c", program, str(tmp_path))
    assert (done.stdout, done.stderr) == ("6 (9500, 9500, 1)\n", "")


def test_a_start_traces_the_initial_state_once(tmp_path, monkeypatch):
    traced, init_params = [], models.init_params
    monkeypatch.setattr(models, "init_params", lambda *arguments: traced.append(arguments) or init_params(*arguments))
    config = small_digits()
    config.optim.lr = 1.25e-3  # of no other test, so that nothing is traced yet
    run_lib.train(config, tmp_path)
    assert len(traced) == 1


@pytest.mark.parametrize("shared_step", [False, True])
def test_a_solve_traces_the_network_once(shared_step):
    traced = []
    velocity = lambda x, t, rows: traced.append(x) or -x * t
    # As users have it, and diffrax sets it; under another rule JAX traces anew.
    with jax.numpy_dtype_promotion("standard"):
        end = RK45(shared_step=shared_step).solve(velocity, jnp.ones((3, 2)), 0.0, 1.0).x
    np.testing.assert_allclose(end, np.full((3, 2), np.exp(-0.5)), rtol=1e-4)
    assert len(traced) == 1


def test_too_large_a_picture_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("1", (5, 5)).save(tmp_path / "large.png")
    with pytest.raises(images.BrokenImageError, match="^it has more than 20 pixels; make it smaller$"):
        images.own_shape(tmp_path / "large.png")


GRADIENT = """
import os, pfgm_jax, jax, jax.numpy as jnp
x, kernel = jnp.ones((64, 8, 8, 32)), jnp.ones((3, 3, 32, 32))
of = lambda kernel: jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
gradient = jax.jit(lambda g: jax.linear_transpose(of, kernel)(g)[0])
text = gradient.lower(jnp.ones((64, 8, 8, 32))).compile().as_text()
print("ynn" in text, os.environ["XLA_FLAGS"])
"""


def test_gradients_of_convolutions_on_a_cpu_are_not_left_to_ynnpack():
    """Whose kernels for them are slower by an order of magnitude; see benchmarks/convolutions.py."""
    option = f"--{cpu_kernels.OPTION}="
    ynn, flags = python("-c", GRADIENT, XLA_FLAGS="--xla_cpu_multi_thread_eigen=true").stdout.split(maxsplit=1)
    assert ynn == "False" and flags.startswith("--xla_cpu_multi_thread_eigen=true " + option)
    # Users may choose otherwise; this is also how XLA would choose.
    chosen = f"{option}LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
    ynn, flags = python("-c", GRADIENT, XLA_FLAGS=chosen).stdout.split(maxsplit=1)
    assert ynn == "True" and flags.strip() == chosen
