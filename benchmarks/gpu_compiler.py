"""What XLA's compiler for GPUs makes of the project's own functions, without having a GPU.

    pip install --no-deps jax-cuda12-plugin==VERSION jax-cuda12-pjrt==VERSION nvidia-cuda-nvcc-cu12   # VERSION: jax's
    python -m benchmarks.gpu_compiler [--gpus 1 8] [--parts field forward update step] [--dtype float32 bfloat16]

Compiles for H100s, which are only described, not present; kernels are therefore not chosen by trying them. For each
part it prints what a GPU needs: memory, number of kernels, and bytes that they read and write, caches left aside. For
the time it gives the limits that the data sheet sets: bytes over bandwidth, and the network's arithmetic, as XLA counts
it before it optimizes, over the peak. --kernels N lists the N kinds of kernels that move the most.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"  # there is no GPU to look for
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"

import argparse
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
from jax.experimental import topologies

from benchmarks.described import Parts, collectives, configure, devices_of, size
from benchmarks.gpu import PEAKS, network_flops
from pfgm_jax.sharding import Devices

BANDWIDTH = 3.35e12  # bytes/s, of the data sheet
# What XLA asks of a device. From the CUDA programming guide (compute capability 9.0) and the H100's data sheet.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132  fpus_per_core: 128  threads_per_warp: 32  clock_rate_ghz: 1.98
  threads_per_core_limit: 2048  threads_per_block_limit: 1024
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_core: 233472  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024  thread_dim_limit_y: 1024  thread_dim_limit_z: 64
  device_memory_size: 85899345920  memory_bandwidth: 3350000000000  l2_cache_size: 52428800
  device_address_bits: 64  device_vendor: "NVIDIA Corporation"  name: "NVIDIA H100 80GB HBM3"
  driver_version: "13.0.0"  runtime_version: "12.8.0"  compile_time_toolkit_version: "12.8.0"  dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9  minor: 10  patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
NO_KERNELS = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while", "conditional", "call"}


class Kernel(NamedTuple):
    """A kernel of a compiled program: its kind, and the bytes of its operands and results."""

    kind: str
    bytes: int


def gpus(count: int) -> Devices:
    """Describes so many GPUs of one machine."""
    described = topologies.get_topology_desc("", platform="cuda", target_config=H100, topology=f"1x1x{count}")
    return devices_of(described)


def launched(text: str) -> Iterator[str]:
    """Finds the lines of the computations that start kernels: the entry, and bodies and branches; each once."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := re.match(r"(?:(ENTRY) )?%([\w.\-]+) \(.*\{$", line):
            lines = computations.setdefault(head[1] or head[2], [])
        lines.append(line)
    waiting, seen = ["ENTRY"], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for line in computations[name]:
            yield line
            if not re.search(r" (fusion|reduce|custom-call|sort|scatter|all-reduce\S*)\(", line):
                waiting += re.findall(r"(?:body|condition|to_apply|calls|_computation)=%([\w.\-]+)", line)
                waiting += [
                    n
                    for group in re.findall(r"_computations=\{(.*?)\}", line)
                    for n in re.findall(r"%([\w.\-]+)", group)
                ]


def kernels(text: str) -> Iterator[Kernel]:
    """Finds the kernels of a compiled program, those of a loop's body once."""
    sizes: dict[str, int] = {}
    for line in launched(text):
        match = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)", line)
        if not match:
            continue
        name, shapes, operation, rest = match.groups()
        sizes[name] = size(shapes)
        if operation in NO_KERNELS:
            continue
        target = re.search(r'custom_call_target="([^"]*)"', line)
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        kind = target[1] if target else re.sub(r"[\d.]+$", "", name)
        yield Kernel(kind, sizes[name] + sum(sizes.get(operand, 0) for operand in operands))


def measure(
    name: str, count: int, flops: float, peak: float, function: Callable, arguments: tuple, listed: int
) -> None:
    """Compiles and prints a line."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory, text = compiled.memory_analysis(), compiled.as_text()
    planned = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    planned += memory.temp_size_in_bytes
    found = list(kernels(text))
    moved = sum(kernel.bytes for kernel in found)
    print(
        f"{name:28}{count:5}{planned / 1e6:10.0f}{len(found):9}{moved / 1e6:11.0f}{flops / 1e9:10.1f}"
        f"{1e3 * moved / BANDWIDTH:10.2f}{1e3 * flops / peak:10.2f}{seconds:9.0f}  {collectives(text)}",
        flush=True,
    )
    by_kind: dict[str, list[int]] = defaultdict(list)
    for kernel in found:
        by_kind[kernel.kind].append(kernel.bytes)
    for kind, sizes in sorted(by_kind.items(), key=lambda item: -sum(item[1]))[:listed]:
        print(f"    {len(sizes):5} {kind:50} {sum(sizes) / 1e6:8.0f} MB")


def main() -> None:
    """Compiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--parts", nargs="+", default=["field", "forward", "update", "step"])
    parser.add_argument("--configs", nargs="+", default=["cifar10"])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--spread_from", type=int, default=8, help="see training.spread_from")
    parser.add_argument("--kernels", type=int, default=0, help="kinds of kernels to list")
    arguments = parser.parse_args()
    print(f"jax {jax.__version__}, described H100s: 80 GB, {BANDWIDTH / 1e9:.0f} GB/s, TF32 for float32")
    print(
        f"{'':28}{'GPUs':>5}{'MB':>10}{'kernels':>9}{'MB moved':>11}{'GFLOP':>10}{'ms, bytes':>10}{'ms, flops':>10}"
        f"{'seconds':>9}  communicated"
    )
    for name in arguments.configs:
        for dtype in arguments.dtype:
            peak = PEAKS["H100"][dtype == "bfloat16"]
            for count in arguments.gpus:
                config = configure(name, dtype, count, arguments.spread_from)
                of_config, points = Parts(config, gpus(count)), config.training.small_batch_size // count
                flops = {part: network_flops(config, points, part == "step") for part in ("forward", "step")}
                for part in arguments.parts:
                    label = f"{name} {part} {dtype}"
                    function, inputs = getattr(of_config, part)()
                    measure(label, count, flops.get(part, 0.0), peak, function, inputs, arguments.kernels)


if __name__ == "__main__":
    main()
