"""Training and sampling at full size on one accelerator: configs/cifar10.py with random images in place of CIFAR-10.

    benchmarks/gpu.sh                                       # float32, then bfloat16
    python -m benchmarks.gpu --dtype bfloat16 [--peak 989e12] [--trace FOLDER] [--small]

Prints images/s of training (128 perturbed points, 4,096 charges), the model FLOP utilisation, memory, and samples/s,
also as the time of a batch over that of its evaluations of the network by themselves.
The utilisation is the arithmetic of the network's forward and backward pass, as XLA counts it before it optimizes, over
the time of a whole training step and the device's peak. Memory is a process's largest: hence one process a type.
--trace also prints what the kernels of a step are for; see benchmarks/trace.py.
--small is a reduced network and batch, with which the command can be tried on a CPU.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import trace
from benchmarks.sampling import random_params
from configs import cifar10
from pfgm_jax import build, datasets, models
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.latents import decode
from pfgm_jax.samplers import create_sampler
from pfgm_jax.sharding import Devices
from pfgm_jax.training.step import create_step, initializer, shardings_of_state

# Dense peaks in FLOP/s by the first word that a device's kind contains: of float32 as XLA multiplies it by default, in
# TF32 from Ampere on, and of bfloat16 (float16 where there is none). From the vendors' data sheets.
PEAKS = {
    "H200": (495e12, 989e12),
    "H100 PCIe": (378e12, 756e12),
    "H100 NVL": (418e12, 835e12),
    "H100": (495e12, 989e12),
    "GH200": (495e12, 989e12),
    "A100": (156e12, 312e12),
    "A10G": (35e12, 70e12),
    "L40S": (183e12, 366e12),
    "L4": (60e12, 121e12),
    "RTX 4090": (82.6e12, 165e12),
    "RTX 3090": (35.6e12, 71e12),
    "V100": (15.7e12, 125e12),
    "T4": (8.1e12, 65e12),
}
BLOCK = 10  # steps between two looks at the clock
SOLVERS = {
    "DPM-Solver++ 2M": create_sampler("dpmpp_2m", steps=20),
    "improved Euler": create_sampler("improved_euler", steps=52),  # as many evaluations as RK45 takes in the paper
}


def peak_flops(kind: str, dtype: str) -> float:
    """The peak of a kind of device; 0 where it is not known."""
    for name, (float32, bfloat16) in PEAKS.items():
        if name in kind:
            return bfloat16 if dtype == "bfloat16" else float32
    return 0.0


def seconds_each(call: Callable[[], object], times: int) -> float:
    """Median of the seconds of a call, its result awaited."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        jax.block_until_ready(call())
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def network_flops(config: ml_collections.ConfigDict, batch: int, backward: bool = True) -> float:
    """Arithmetic operations of a forward pass, and a backward pass, before XLA changes anything."""
    model = models.create_model(config)
    shape = build.image_shape(config)
    params = models.shapes_of_params(model, shape)
    x, z = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((batch, *shape), (batch,)))
    loss = lambda params, x, z: jnp.sum(jnp.asarray(model.apply({"params": params}, x, z)) ** 2)
    # As for a CPU: plugins of other devices count nothing before they compile.
    with jax.default_device(jax.devices("cpu")[0]):
        analysis = jax.jit(jax.grad(loss) if backward else loss).lower(params, x, z).cost_analysis()
    assert analysis is not None
    return analysis["flops"]


def measure_training(config: ml_collections.ConfigDict, peak: float, blocks: int, traced: Path | None) -> None:
    """Prints the speed of training and the memory that it takes."""
    devices, training = Devices.all(), config.training
    keys = Keys.from_seed(0, devices.whole)
    state = jax.jit(initializer(config), out_shardings=shardings_of_state(config, devices))(keys.init)
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (training.batch_size, *build.image_shape(config)), dtype=np.uint8)
    index = np.arange(training.batch_size, dtype=np.int32)
    batch = datasets.Batch(devices.place(stored), devices.place_whole(index), devices.place(0 * index))
    flag = devices.place(np.zeros(devices.count, np.float32))

    start = time.perf_counter()
    step = create_step(config, devices).lower(state, keys.train, batch, None, flag).compile()
    print(f"  compiled, or found compiled, in {time.perf_counter() - start:.0f} s")

    def block():
        nonlocal state
        for _ in range(BLOCK):
            state, metrics, _ = step(state, keys.train, batch, None, flag)
        return metrics

    jax.block_until_ready(block())
    per_step = seconds_each(block, blocks) / BLOCK
    flops = network_flops(config, training.small_batch_size)
    images = training.small_batch_size / per_step
    print(f"  training: {images:.0f} images/s, {1e3 * per_step:.1f} ms a step of {training.small_batch_size} images")
    achieved = flops / per_step
    share = f"{achieved / peak:.1%}" if peak else "not known: this device's peak is not in the table, give --peak"
    print(f"  {flops / 1e12:.3g} TFLOP a step, {achieved / 1e12:.3g} TFLOP/s, utilisation {share}")
    sizes = step.memory_analysis()
    planned = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    planned += sizes.temp_size_in_bytes
    used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    measured = f"{used / 2**30:.2f} GiB" if used else "not known here"
    print(f"  memory: {planned / 2**30:.2f} GiB planned by the compiler, {measured} at most in use")
    if traced:
        with jax.profiler.trace(traced):
            jax.block_until_ready(block())
        (traced / trace.COMPILED).write_text(step.as_text())
        trace.print_kinds(traced, BLOCK)


def measure_sampling(config: ml_collections.ConfigDict, batch: int, peak: float) -> None:
    """Prints the speed of sampling, and of the network."""
    model, method = models.create_model(config), build.create_method(config)
    params = random_params(model, config, jax.random.key(0))
    x = method.prior_sample(sample_keys(jax.random.key(1), batch))
    forward = jax.jit(lambda params, x, z: model.apply({"params": params}, x, z))
    z = jnp.ones(batch)
    jax.block_until_ready(forward(params, x, z))
    per_evaluation = seconds_each(lambda: [forward(params, x, z) for _ in range(BLOCK)], 5) / BLOCK
    achieved = network_flops(config, batch, backward=False) / per_evaluation
    share = f", utilisation {achieved / peak:.1%}" if peak else ""
    print(f"  network: {1e3 * per_evaluation:.1f} ms for {batch} images{share}")
    for name, solver in SOLVERS.items():

        @jax.jit
        def sample(params, x, solver=solver):
            net = lambda y, level, context: jnp.asarray(model.apply({"params": params}, y, level, context))
            return decode(method, net, x, solver)

        evaluations = int(sample(params, x).evaluations[0])
        seconds = seconds_each(lambda sample=sample: sample(params, x), 3)
        ratio = f"{seconds / evaluations / per_evaluation:.2f} of their time"
        print(f"  sampling: {batch / seconds:.1f} samples/s by {name} in {evaluations} evaluations, {ratio}")


def main() -> None:
    """Measures one type."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peak", type=float, help="of the device, in FLOP/s; by default from a table")
    parser.add_argument("--samples", type=int, default=256, help="at a time")
    parser.add_argument("--trace", type=Path, help="folder for a trace of training steps")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    config = cifar10.get_config()
    config.training.field_reference = "batch"
    config.model.dtype = arguments.dtype
    blocks = 5
    if arguments.small:
        config.model.nf, config.model.num_res_blocks = 16, 1
        config.training.batch_size, config.training.small_batch_size = 64, 8
        arguments.samples, blocks = 4, 1
    kind = jax.devices()[0].device_kind
    size = "reduced" if arguments.small else "full"
    print(f"{arguments.dtype}, {size} size, {jax.device_count()} x {kind}, JAX {jax.__version__}")
    peak = arguments.peak or peak_flops(kind, arguments.dtype)
    measure_training(config, peak * jax.device_count(), blocks, arguments.trace)
    measure_sampling(config, arguments.samples, peak)


if __name__ == "__main__":
    main()
