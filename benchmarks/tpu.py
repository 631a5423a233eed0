"""What the TPU's compiler makes of the project's own functions, without having a TPU.

    pip install -e ".[tpu]"                            # libtpu, Google's own licence, 700 MB; not needed elsewhere
    python -m benchmarks.tpu [--chips 1 8 128] [--parts field update forward] [--dtype bfloat16] [--spread_from 8]
    python -m benchmarks.tpu --full [--configs cifar10 celeba lsun_bedroom]

Compiles for chips of the type v5e, which are only described, not present. For each part and number of chips it prints
what a chip needs: memory at its peak, bytes that it moves between memory and core, arithmetic, the compiler's own
estimate of the time, and what is communicated. For the time it gives the limits that the chip's data sheet sets:
arithmetic over its peak, and bytes over its bandwidth. The estimates of reductions, copies, sorting, gathers and
communication are known to be too low or missing.

Parts take minutes; --full compiles whole training steps, sampling and likelihoods, an hour or more for each config.
With JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1.0 in the environment that takes a quarter of the time. The memory that is
needed is nearly the same then, but the code is slower, so its bytes and times say little.
"""

import os

# Before JAX is imported: the compiler is a plug-in that would look for chips and for the cloud around them.
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
os.environ["TPU_WORKER_ID"] = "0"

import argparse
import re
import time
from collections.abc import Callable

import jax
from jax.experimental import topologies

from benchmarks.described import Parts, collectives, configure, devices_of
from pfgm_jax.sharding import Devices

TOPOLOGIES = {1: "v5e:1x1", 8: "v5e:2x4", 16: "v5e:4x4", 64: "v5e:8x8", 128: "v5e:8x16", 256: "v5e:16x16"}
# Of a chip (cloud.google.com/tpu/docs/v5e): bytes of memory, bytes/s, operations/s in bfloat16, cycles/s.
MEMORY, BANDWIDTH, PEAK, CLOCK = 16e9, 819e9, 197e12, 1.5e9


def chips(count: int) -> Devices:
    """Describes so many chips."""
    options = {"chips_per_host_bounds": (1, 1, 1)} if count == 1 else {}
    described = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[count], **options)
    devices = devices_of(described)
    assert devices.count == count
    return devices


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
    parser.add_argument("--remat", action="store_true", help="as model.remat")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    parts = ["step", "sampling", "likelihood"] if arguments.full else arguments.parts
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
                config = configure(name, dtype, count, arguments.spread_from)
                config.model.remat = arguments.remat
                of_config = Parts(config, chips(count))
                for part in parts:
                    measure(f"{name} {part} {dtype[:5]}", count, *getattr(of_config, part)())


if __name__ == "__main__":
    main()
