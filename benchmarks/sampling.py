"""What sampling costs beyond its evaluations of the network, for every solver.

    python -m benchmarks.sampling [--config digits] [--workdir DIR] [--batch 64] [--steps 20] [--rounds 5]

Prints the time of a batch of samples over evaluations times the time of one forward pass of the same network on the
same batch. Solvers and forward passes take turns in one process, and each round has its own ratio, so that a machine
that is busy with something else slows both; the time of all cores that the process used is less disturbed than that of
the clock. Without --workdir the parameters are random, on which only the evaluations
of the adaptive solvers depend.
"""

import argparse
import importlib
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import pfgm_jax
from pfgm_jax import build, datasets, models, sampling
from pfgm_jax import config as config_lib
from pfgm_jax.ode import ADAPTIVE, SOLVERS, Solver

FORWARDS = 20


def random_params(model, config, key: jax.Array) -> PyTree:
    """Parameters of a network whose answer is not nearly zero, as it is by the initialization."""
    params = jax.jit(lambda key: build.init_params(model, config, key))(key)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [0.02 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.map(jnp.add, params, jax.tree.unflatten(tree, noise))


def seconds(call: Callable[[], object]) -> np.ndarray:
    """Seconds of the clock and of all cores that one call takes, its result awaited."""
    now = lambda: np.array([time.perf_counter(), time.process_time()])
    start = now()
    jax.block_until_ready(call())
    return now() - start


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="digits", help="a file of configs/, for random parameters")
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="of the solvers that do not choose theirs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.workdir:
        trained = pfgm_jax.load(arguments.workdir)
        config, params = trained.config, trained.params
    else:
        config = importlib.import_module(f"configs.{arguments.config}").get_config()
        config = config_lib.fill_in(config, datasets.load_dataset(config.data.dataset))
        params = random_params(models.create_model(config), config, jax.random.key(0))
    model, method = models.create_model(config), build.create_method(config)

    x = method.prior_sample(jax.random.key(1), arguments.batch)
    z = jnp.full(arguments.batch, 0.3)
    forward = jax.jit(lambda params, x, z: model.apply({"params": params}, x, z))

    def sampler(solver: Solver):
        solve = lambda params, x: sampling.integrate(
            method, lambda y, cond: jnp.asarray(model.apply({"params": params}, y, cond)), x, solver
        )
        return jax.jit(solve)

    solvers = {name: Solver(name, steps=arguments.steps) for name in SOLVERS}
    solvers |= {f"{name}, shared step": Solver(name, shared_step=True) for name in ADAPTIVE}
    samplers = {name: sampler(solver) for name, solver in solvers.items()}
    evaluations = {name: np.asarray(sample(params, x).check().evaluations) for name, sample in samplers.items()}
    jax.block_until_ready(forward(params, x, z))

    ratios: dict[str, list[np.ndarray]] = {name: [] for name in samplers}
    for _ in range(arguments.rounds):
        for name, sample in samplers.items():
            passes = lambda: [forward(params, x, z) for _ in range(FORWARDS)]
            before = seconds(passes)
            took = seconds(lambda sample=sample: sample(params, x))
            one = (before + seconds(passes)) / (2 * FORWARDS)
            ratios[name].append(took / (evaluations[name].max() * one))

    print(f"{platform.machine()}, JAX {jax.__version__}, {jax.devices()[0].device_kind}")
    print(f"batch {arguments.batch}, one forward pass {1e3 * one[0]:.2f} ms in the last round; medians of the rounds")
    print(f"{'':24} {'evaluations':^20}   {'time / (most x forward)':^30}")
    print(f"{'solver':24} {'mean':>10} {'most':>9}   {'clock':>10} {'rounds':>18} {'CPU':>10}")
    for name, values in ratios.items():
        of, (clock, cpu) = evaluations[name], np.median(values, axis=0)
        rounds = f"{min(v[0] for v in values):.2f} to {max(v[0] for v in values):.2f}"
        print(f"{name:24} {of.mean():10.1f} {of.max():9}   {clock:10.3f} {rounds:>18} {cpu:10.3f}")


if __name__ == "__main__":
    main()
