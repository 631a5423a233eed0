"""What sampling and likelihoods cost beyond their evaluations of the network, for every solver.

    python -m benchmarks.sampling [--config digits] [--workdir DIR] [--batch 48] [--steps 20] [--rounds 2]

Prints the time of a batch over evaluations times the time of one evaluation by itself: of the network for samples; of
the network and its product with a tangent for likelihoods, which is also given in forward passes. Solvers and single
evaluations take turns in one process, and each round has its own ratio, so that a machine that is busy with something
else slows both; the time of all cores that the process used is less disturbed than that of the clock. Without --workdir
the parameters are random, on which only the evaluations of the adaptive solvers depend.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import pfgm_jax
from pfgm_jax import build, datasets, likelihood, models
from pfgm_jax import config as config_lib
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.keys import sample_keys
from pfgm_jax.latents import decode
from pfgm_jax.samplers import create_sampler
from pfgm_jax.samplers.base import OdeSolver

SINGLE = 8  # evaluations that are timed together


def random_params(model, config, key: jax.Array) -> PyTree:
    """Parameters of a network whose answer is not nearly zero, as it is by the initialization."""
    params = jax.jit(lambda key: models.init_params(model, build.image_shape(config), key))(key)
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
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20, help="of the solvers that do not choose theirs")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.workdir:
        trained = pfgm_jax.load(arguments.workdir)
        config, params = trained.config, trained.params
    else:
        config = importlib.import_module(f"configs.{arguments.config}").get_config()
        config = config_lib.fill_in(config, datasets.load_dataset(config.data.dataset))
        params = random_params(models.create_model(config), config, jax.random.key(0))
    model, method = models.create_model(config), build.create_method(config)

    apply = lambda params, y, level, context: jnp.asarray(model.apply({"params": params}, y, level, context))
    net = lambda params: lambda y, level, context=NO_CONTEXT: apply(params, y, level, context)
    x = method.prior_sample(sample_keys(jax.random.key(1), arguments.batch))
    z = jnp.full(arguments.batch, 0.3)
    probe = jnp.sign(x)
    forward = jax.jit(lambda params: net(params)(x, z))
    tangent = jax.jit(lambda params: jax.jvp(lambda y: net(params)(y, z), (x,), (probe,)))

    def sampler(solver):
        return jax.jit(lambda params: decode(method, net(params), x, solver))

    image = jnp.tanh(x / jnp.std(x, axis=(1, 2, 3), keepdims=True))
    of_images = jax.jit(
        lambda params: likelihood.log_prob(
            method.for_densities(), net(params), image, create_sampler("rk45", rtol=1e-3, atol=1e-3), probe[None]
        )
    )

    config.sampling.N = arguments.steps
    samplers = {name: build.create_named_sampler(config, name) for name in build.samplers_of(method)}
    # The others draw noise at every step, and have no map from a latent to its sample.
    calls = {name: (sampler(solver), forward) for name, solver in samplers.items() if isinstance(solver, OdeSolver)}
    calls["likelihood by rk45"] = (of_images, tangent)
    evaluations = {name: np.asarray(call(params).check().evaluations) for name, (call, _) in calls.items()}
    for call in (forward, tangent):
        jax.block_until_ready(call(params))

    measured = measure(calls, evaluations, (forward, tangent), params, arguments.rounds)
    report(*measured, evaluations, arguments)


def measure(calls, evaluations, singles, params, rounds: int) -> tuple[dict[str, list[np.ndarray]], list[float], float]:
    """Times every solver beside single evaluations; ratios by round, tangents over forward passes, seconds of one."""
    ratios: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    tangents: list[float] = []
    for _ in range(rounds):
        for name, (call, one) in calls.items():
            single = lambda one=one: [one(params) for _ in range(SINGLE)]
            before = seconds(single)
            took = seconds(lambda call=call: call(params))
            each = (before + seconds(single)) / (2 * SINGLE)
            ratios[name].append(took / (evaluations[name].max() * each))
        of_forward, of_tangent = (seconds(lambda c=c: [c(params) for _ in range(SINGLE)])[0] for c in singles)
        tangents.append(of_tangent / of_forward)

    return ratios, tangents, of_forward / SINGLE


def report(ratios, tangents, forward_seconds: float, evaluations, arguments: argparse.Namespace) -> None:
    """Prints the table."""
    print(f"batch {arguments.batch}, one forward pass {1e3 * forward_seconds:.2f} ms in the last round; medians of")
    print(f"{arguments.rounds} rounds; a forward pass with a tangent takes {np.median(tangents):.2f} forward passes")
    print(f"{'':24} {'evaluations':^20}   {'time / (most x one evaluation)':^30}")
    print(f"{'solver':24} {'mean':>10} {'most':>9}   {'clock':>10} {'rounds':>18} {'CPU':>10}")
    for name, values in ratios.items():
        of, (clock, cpu) = evaluations[name], np.median(values, axis=0)
        rounds = f"{min(v[0] for v in values):.2f} to {max(v[0] for v in values):.2f}"
        print(f"{name:24} {of.mean():10.1f} {of.max():9}   {clock:10.3f} {rounds:>18} {cpu:10.3f}")


if __name__ == "__main__":
    main()
