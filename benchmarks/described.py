"""The project's own compiled functions, for devices that are only described; see benchmarks.tpu and gpu_compiler."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental.topologies import TopologyDescription
from jax.sharding import AxisType

from pfgm_jax import build, config_files, datasets, sharding
from pfgm_jax import config as config_lib
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.generator import create_likelihood, create_sampling
from pfgm_jax.samplers import create_sampler
from pfgm_jax.sharding import AXIS, WHOLE, Devices
from pfgm_jax.training.state import apply_gradients, create_optimizer
from pfgm_jax.training.step import create_objective, create_step, shapes_of_state, shardings_of_state

BYTES = {"u8": 1, "s8": 1, "pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "u64": 8, "s64": 8, "f64": 8}
COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
EVALUATIONS = 20  # of the network, in sampling and likelihood


def configure(name: str, dtype: str, count: int, spread_from: int) -> ml_collections.ConfigDict:
    """Returns a config for so many devices."""
    config = config_files.load_experiment(name)
    config.model.dtype, config.training.spread_from = dtype, spread_from
    config.training.field_reference = config.training.field_reference or "batch"
    if count > config.training.small_batch_size:
        config.training.points_per_device = 1
    return config_lib.with_batches(config, count)


def devices_of(described: TopologyDescription) -> Devices:
    """Returns the devices of a description, in a line."""
    return Devices(jax.sharding.Mesh(np.array(described.devices).reshape(-1), (AXIS,), axis_types=(AxisType.Auto,)))


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Describes arrays of the shapes of a tree, placed as a sharding says."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


class Parts:
    """The parts of a config on some devices: name -> a jitted function and its arguments."""

    def __init__(self, config: ml_collections.ConfigDict, devices: Devices):
        self.config, self.devices = config, devices
        self.objective = create_objective(config, devices)
        self.optimizer = create_optimizer(config.optim)
        key = jax.eval_shape(lambda: jax.random.key(0))
        self.state = shapes_of_state(config, devices)
        self.key = placed(key, devices.whole)
        rows = config.training.batch_size
        stored = jax.ShapeDtypeStruct((rows, *build.image_shape(config)), jnp.uint8)
        numbers = jax.ShapeDtypeStruct((rows,), jnp.int32)
        self.batch = datasets.Batch(
            placed(stored, devices.rows), placed(numbers, devices.whole), placed(numbers, devices.rows)
        )
        self.flag = placed(jax.ShapeDtypeStruct((devices.count,), jnp.float32), devices.rows)

    def field(self) -> tuple[Callable, tuple]:
        """Perturbed points and their targets, from a batch as it is stored."""
        return jax.jit(lambda key, batch: self.objective.training_pair(key, batch, None)), (self.key, self.batch)

    def update(self) -> tuple[Callable, tuple]:
        """The sum of gradients over the chips, Adam, and the average."""
        devices, rate = self.devices, self.config.model.ema_rate

        def update(state, of_each):
            specs = devices.specs(of_each, self.objective.spread)
            total = lambda g: sharding.sum_in_parts(g, specs)
            summed = devices.on_each(total, (WHOLE,), specs)(of_each)
            return apply_gradients(state, summed, self.optimizer, rate)

        placement = shardings_of_state(self.config, devices)
        return jax.jit(update, donate_argnums=0, out_shardings=placement), (self.state, self.state.params)

    def forward(self) -> tuple[Callable, tuple]:
        """The network, of the points of a step."""
        x = jax.ShapeDtypeStruct((self.config.training.small_batch_size, *build.image_shape(self.config)), jnp.float32)
        level = jax.ShapeDtypeStruct(x.shape[:1], jnp.float32)
        apply = lambda params, x, level: self.objective.model.apply({"params": params}, x, level)
        return jax.jit(apply), (self.state.params, *placed((x, level), self.devices.rows))

    def step(self) -> tuple[Callable, tuple]:
        """A training step."""
        return create_step(self.config, self.devices), (self.state, self.key, self.batch, None, self.flag)

    def sampling(self) -> tuple[Callable, tuple]:
        """Samples of a batch, by DPM-Solver++ in 20 steps."""
        method, model, devices = self.objective.method, self.objective.model, self.devices
        sampler = create_sampler("dpmpp_2m", steps=EVALUATIONS)
        n = devices.round_up(self.config.sampling.batch_size)
        sample = create_sampling(method, model, sampler, devices, n)
        return sample, (
            self.state.params,
            self.key,
            placed(jax.ShapeDtypeStruct((), jnp.int32), devices.whole),
            NO_CONTEXT,
        )

    def likelihood(self) -> tuple[Callable, tuple]:
        """Bits per dimension of a batch, by Euler in 20 steps; the memory of an evaluation is any solver's."""
        method, model, devices = self.objective.method.for_densities(), self.objective.model, self.devices
        solver, scaling = create_sampler("euler", steps=EVALUATIONS), build.create_scaling(self.config)
        divergence, n = build.create_divergence(self.config), devices.round_up(self.config.eval.batch_size)
        bits = create_likelihood(method, model, scaling, solver, divergence, devices, 1)
        stored = jax.ShapeDtypeStruct((n, *build.image_shape(self.config)), jnp.uint8)
        rows = placed((stored, jax.ShapeDtypeStruct((n,), jnp.int32)), devices.whole)
        return bits, (self.state.params, self.key, *rows, NO_CONTEXT)


def size(shapes: str) -> int:
    """Bytes of the arrays that a text of HLO names."""
    found = re.findall(r"\b(\w+)\[([\d,]*)\]", shapes)
    return sum(BYTES.get(kind, 4) * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in found)


def collectives(text: str) -> str:
    """Lists what a compiled program communicates, with bytes."""
    found: dict[str, list[int]] = {}
    for shapes, name in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", text):
        found.setdefault(name, []).append(size(shapes))
    return ", ".join(f"{len(each)} {name} of {sum(each) / 1e6:.3g} MB" for name, each in found.items()) or "none"
