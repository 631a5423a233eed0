"""What a training step spends its time on, and how much of it the field takes.

    python -m benchmarks.step [--rounds 3]

For configs/digits.py, and for a reduced CIFAR-10 network (nf 32, one block a level) with the paper's 128 points in the
field of 4,096. The whole step and its parts take turns in one process, and a share is the median over the rounds; what
the parts leave over is the step's own (or, below 0, what its parts do twice).
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import cifar10, digits
from pfgm_jax import config as config_lib
from pfgm_jax import datasets
from pfgm_jax.keys import Keys
from pfgm_jax.sharding import Devices
from pfgm_jax.training.state import apply_gradients, create_optimizer
from pfgm_jax.training.step import create_objective, create_step, initializer, shardings_of_state


def reduced_cifar10() -> ml_collections.ConfigDict:
    """configs/cifar10.py with a network that a CPU trains."""
    config = cifar10.get_config()
    config.model.nf, config.model.num_res_blocks = 32, 1
    config.training.field_reference = "batch"
    return config


def _parts(config: ml_collections.ConfigDict, stored: np.ndarray) -> tuple[dict[str, Callable[[], object]], int]:
    """Calls of a whole step and of its parts, and the number of parameters."""
    devices, keys = Devices.all(), Keys.from_seed(0, Devices.all().whole)
    objective, optimizer = create_objective(config, devices), create_optimizer(config.optim)
    state = jax.jit(initializer(config), out_shardings=shardings_of_state(config, devices))(keys.init)
    index = np.arange(len(stored), dtype=np.int32)
    batch = datasets.Batch(jnp.asarray(stored), jnp.asarray(index), jnp.asarray(0 * index))
    flag = jnp.zeros(devices.count)

    pair_of = jax.jit(lambda key, batch: objective.training_pair(key, batch, None))
    pair = pair_of(keys.train, batch)
    example_keys = jax.random.split(keys.train, len(pair.x))
    loss = lambda params: objective.sum_of_losses(params, pair, example_keys)
    forward, gradient = jax.jit(loss), jax.jit(jax.grad(loss))
    grads = gradient(state.params)
    update = jax.jit(lambda state, grads: apply_gradients(state, grads, optimizer, config.model.ema_rate))
    step = create_step(config, devices)
    running = jax.tree.map(jnp.copy, state)  # the step takes the buffers of what it is given

    def whole():
        nonlocal running
        running, metrics, _ = step(running, keys.train, batch, None, flag)
        return metrics

    calls = {
        "whole step": whole,
        "field and perturbation": lambda: pair_of(keys.train, batch),
        "forward": lambda: forward(state.params),
        "forward and backward": lambda: gradient(state.params),
        "optimiser and average": lambda: update(state, grads),
    }
    return calls, sum(p.size for p in jax.tree.leaves(state.params))


def _measure(name: str, config: ml_collections.ConfigDict, stored: np.ndarray, rounds: int, times: int) -> None:
    calls, parameters = _parts(config, stored)
    took: dict[str, list[float]] = {part: [] for part in calls}
    for round in range(rounds + 1):  # the first compiles
        for part, call in calls.items():
            start = time.perf_counter()
            for _ in range(times):
                jax.block_until_ready(call())
            if round:
                took[part].append((time.perf_counter() - start) / times)
    seconds = {part: np.array(values) for part, values in took.items()}
    seconds["backward"] = seconds.pop("forward and backward") - seconds["forward"]
    whole = seconds.pop("whole step")
    rows, points = config.training.batch_size, config.training.small_batch_size
    print(f"{name}: {points} points, {rows} charges, N = {np.prod(stored.shape[1:])}, {parameters:,} parameters")
    print(f"  whole step, in the last round {1e3 * whole[-1]:.4g} ms")
    for part in ("field and perturbation", "forward", "backward", "optimiser and average"):
        print(f"  {part:24} {np.median(seconds[part] / whole):7.1%}")
    left = np.median(1 - sum(seconds.values()) / whole)
    print(f"  {'left over':24} {left:7.1%}", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    dataset = datasets.load_dataset("digits")
    config = config_lib.fill_in(digits.get_config(), dataset)
    _measure("configs/digits.py", config, dataset.train[: config.training.batch_size], rounds, times=5)
    config = reduced_cifar10()
    stored = np.random.default_rng(0).integers(0, 256, (config.training.batch_size, 32, 32, 3), dtype=np.uint8)
    _measure("configs/cifar10.py, reduced", config, stored, min(rounds, 2), times=1)


if __name__ == "__main__":
    main()
