"""What the TPU's compiler makes of the project's own functions, without having a TPU.

    pip install -e ".[tpu]"                            # libtpu, Google's own licence, 700 MB; not needed elsewhere
    python -m benchmarks.tpu [--chips 1 8 128] [--parts field update forward] [--dtype bfloat16] [--spread_from 8]
    python -m benchmarks.tpu --full [--configs cifar10 celeba lsun_bedroom]

Compiles for chips of the type v5e, which are only described, not present. For each part and number of chips it prints
what a chip needs: memory at its peak, bytes that it moves between memory and core, arithmetic, the compiler's own
estimate of the time, and what is communicated. For the time it gives the limits that the chip's data sheet sets:
arithmetic over its peak, and bytes over its bandwidth. The estimates of reductions, copies, sorting, gathers and
communication are known to be too low or missing.

Parts take minutes; --full compiles whole training steps and sampling, an hour or more for each config.
"""

import os

# Before JAX is imported: the compiler is a plug-in that would look for chips and for the cloud around them.
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
os.environ["TPU_WORKER_ID"] = "0"

import argparse
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType

from pfgm_jax import build, config_files, datasets, sharding
from pfgm_jax import config as config_lib
from pfgm_jax.keys import sample_keys
from pfgm_jax.latents import decode
from pfgm_jax.samplers import create_sampler
from pfgm_jax.sharding import AXIS, WHOLE, Devices
from pfgm_jax.training.state import apply_gradients, create_optimizer
from pfgm_jax.training.step import create_objective, create_step, initializer, shardings_of_state

TOPOLOGIES = {1: "v5e:1x1", 8: "v5e:2x4", 16: "v5e:4x4", 64: "v5e:8x8", 128: "v5e:8x16", 256: "v5e:16x16"}
# Of a chip (cloud.google.com/tpu/docs/v5e): bytes of memory, bytes/s, operations/s in bfloat16, cycles/s.
MEMORY, BANDWIDTH, PEAK, CLOCK = 16e9, 819e9, 197e12, 1.5e9
BYTES = {"u8": 1, "s8": 1, "pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}
COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"


def chips(count: int) -> Devices:
    """Describes so many chips."""
    options = {"chips_per_host_bounds": (1, 1, 1)} if count == 1 else {}
    described = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[count], **options)
    mesh = jax.sharding.Mesh(np.array(described.devices).reshape(-1), (AXIS,), axis_types=(AxisType.Auto,))
    assert mesh.size == count
    return Devices(mesh)


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Describes arrays of the shapes of a tree, placed as a sharding says."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


class Parts:
    """The parts of a config on some chips: name -> a jitted function and its arguments."""

    def __init__(self, config: ml_collections.ConfigDict, devices: Devices):
        self.config, self.devices = config, devices
        self.objective = create_objective(config, devices)
        self.optimizer = create_optimizer(config.optim)
        key = jax.eval_shape(lambda: jax.random.key(0))
        describe = lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
        self.placement = shardings_of_state(config, devices)
        self.state = jax.tree.map(describe, jax.eval_shape(initializer(config), jax.random.key(0)), self.placement)
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

        return jax.jit(update, donate_argnums=0, out_shardings=self.placement), (self.state, self.state.params)

    def forward(self) -> tuple[Callable, tuple]:
        """The network, of the points of a step."""
        x = jax.ShapeDtypeStruct((self.config.training.small_batch_size, *build.image_shape(self.config)), jnp.float32)
        level = jax.ShapeDtypeStruct(x.shape[:1], jnp.float32)
        apply = lambda params, x, level: self.objective.model.apply({"params": params}, x, level)
        return jax.jit(apply), (self.state.params, *placed((x, level), self.devices.rows))

    def step(self) -> tuple[Callable, tuple]:
        """A training step."""
        return create_step(self.config, self.devices)[0], (self.state, self.key, self.batch, None, self.flag)

    def sampling(self) -> tuple[Callable, tuple]:
        """Samples of a batch, by 20 steps of DPM-Solver++."""
        method, model, devices = self.objective.method, self.objective.model, self.devices
        solver, n = create_sampler("dpmpp_2m", steps=20), self.config.sampling.batch_size

        def sample(params, key):
            net = lambda x, level, context=None: jnp.asarray(model.apply({"params": params}, x, level))
            x = method.prior_sample(devices.split(sample_keys(key, devices.round_up(n))))
            return decode(method, net, x, solver)

        return jax.jit(sample, out_shardings=devices.whole), (self.state.params, self.key)


def collectives(text: str) -> str:
    """Lists what a compiled program communicates, with bytes."""
    found: dict[str, list[int]] = {}
    for shapes, name in re.findall(rf"= (.*?) ({COLLECTIVES})(?:-start)?\(", text):
        sizes = re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        bytes_ = [BYTES.get(kind, 4) * int(np.prod([int(n) for n in dims.split(",") if n])) for kind, dims in sizes]
        found.setdefault(name, []).append(sum(bytes_))
    return ", ".join(f"{len(each)} {name} of {sum(each) / 1e6:.3g} MB" for name, each in found.items()) or "none"


def cycles(text: str, scope: str = "") -> int:
    """Adds up the compiler's estimates of operations, of those alone that were traced in a scope."""
    lines = (line for line in text.splitlines() if scope in line)
    return sum(int(n) for line in lines for n in re.findall(r'"estimated_cycles":"?(\d+)', line))


def measure(name: str, count: int, function: Callable, arguments: tuple) -> None:
    """Compiles and prints a line."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    moved, flops, total = cost.get("bytes accessed", 0.0), cost.get("flops", 0.0), cycles(text)
    norms = cycles(text, "/norm") / total if total else 0.0
    print(
        f"{name:22}{count:6}{memory.peak_memory_in_bytes / 1e6:10.0f}{moved / 1e6:11.0f}{flops / 1e9:10.1f}"
        f"{1e3 * moved / BANDWIDTH:10.2f}{1e3 * flops / PEAK:10.2f}{1e3 * total / CLOCK:10.2f}{norms:8.0%}"
        f"{seconds:9.0f}"
        f"  {collectives(text)}",
        flush=True,
    )


def main() -> None:
    """Compiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, nargs="+", default=[1, 8, 128], choices=list(TOPOLOGIES))
    parser.add_argument("--parts", nargs="+", default=["field", "update", "forward"])
    parser.add_argument("--configs", nargs="+", default=["cifar10"])
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"])
    parser.add_argument("--spread_from", type=int, default=8, help="see training.spread_from")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    parts = ["step", "sampling"] if arguments.full else arguments.parts
    print(
        f"jax {jax.__version__}, chips of the type v5e: {MEMORY / 1e9:.0f} GB, {BANDWIDTH / 1e9:.0f} GB/s, {PEAK:.3g}/s"
    )
    print(
        f"{'':22}{'chips':>6}{'peak MB':>10}{'MB moved':>11}{'GFLOP':>10}{'ms, bytes':>10}{'ms, flops':>10}"
        f"{'ms, est.':>10}{'norms':>8}{'seconds':>9}  communicated"
    )
    for name in arguments.configs:
        for dtype in arguments.dtype:
            for count in arguments.chips:
                config = config_files.load_experiment(name)
                config.model.dtype, config.training.spread_from = dtype, arguments.spread_from
                config.training.field_reference = config.training.field_reference or "batch"
                if count > config.training.small_batch_size:
                    config.training.points_per_device = 1
                of_config = Parts(config_lib.with_batches(config, count), chips(count))
                for part in parts:
                    measure(f"{name} {part} {dtype[:5]}", count, *getattr(of_config, part)())


if __name__ == "__main__":
    main()
