"""What the kernels of training steps on a GPU are for, from a trace of JAX's profiler.

    python -m benchmarks.gpu --dtype bfloat16 --trace FOLDER      # writes FOLDER and prints the table
    python -m benchmarks.trace FOLDER [--steps 10]                # prints it again

FOLDER holds the trace and, in compiled.txt, what XLA compiled: a kernel has the name of its fusion, and this the layer
of the network that it belongs to; where XLA merged layers, the last of them. Steps are longer while they are traced.
"""

import argparse
import gzip
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

COMPILED = "compiled.txt"
LAYERS = ("attention", "norm", "Dropout", "silu", "concatenate", "conv_", "skip", "embed")
LIBRARIES = {
    "convolutions": "xmma|cudnn|convolve|wgrad|nchw",
    "matrix products": "nvjet|gemm_f32|cublas",
    "copies": "memcpy",
}


class Kernel(NamedTuple):
    """A kernel that ran: its name, and when it began and how long it took, in microseconds."""

    name: str
    start: float
    duration: float


def read_kernels(folder: Path) -> list[Kernel]:
    """Reads the kernels of the first GPU from a trace, in the order of their start."""
    newest = max(folder.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    events = json.loads(gzip.decompress(newest.read_bytes()))["traceEvents"]
    named = [e for e in events if e.get("name") == "process_name" and "GPU:0" in e["args"]["name"]]
    if not named:
        raise SystemExit(f"error: {newest} has no GPU; trace steps on one")
    ran = [e for e in events if e.get("ph") == "X" and e["pid"] == named[0]["pid"]]
    return sorted((Kernel(e["name"], e["ts"], e["dur"]) for e in ran), key=lambda kernel: kernel.start)


def layers_of(compiled: str) -> dict[str, str]:
    """Finds the operation of the network that each fusion of a compiled program is named after."""
    found = re.findall(r'^\s*(?:ROOT )?%([\w.\-]+) = .*? fusion\(.*?op_name="([^"]*)"', compiled, re.M)
    return {re.sub(r"[.\-]", "_", name): operation for name, operation in found}


def kind_of(name: str, layers: dict[str, str]) -> str:
    """Says what a kernel is for."""
    for kind, pattern in LIBRARIES.items():
        if re.search(pattern, name):
            return kind
    operation = layers.get(re.sub(r"[.\-]", "_", name), "")
    layer = next((layer.strip("_") for layer in LAYERS if layer in operation), "")
    if layer:
        return f"{layer}, {'backward' if 'transpose(' in operation else 'forward'}"
    return re.sub(r"[_\d]+$", "", name)


def print_kinds(folder: Path, steps: int, listed: int = 20) -> None:
    """Prints the table of a folder."""
    kernels, layers = read_kernels(folder), layers_of((folder / COMPILED).read_text())
    kinds: dict[str, list[float]] = defaultdict(list)
    for kernel in kernels:
        kinds[kind_of(kernel.name, layers)].append(kernel.duration / 1e3 / steps)
    total = sum(map(sum, kinds.values()))
    span = (kernels[-1].start + kernels[-1].duration - kernels[0].start) / 1e3 / steps
    print(f"  a step: {len(kernels) / steps:.0f} kernels, {total:.1f} ms; {span:.1f} ms from the first to the last")
    for kind, took in sorted(kinds.items(), key=lambda item: -sum(item[1]))[:listed]:
        print(f"    {sum(took):7.2f} ms {sum(took) / total:6.1%} {len(took) / steps:7.0f} {kind}")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10, help="that the trace is of")
    arguments = parser.parse_args()
    print_kinds(arguments.folder, arguments.steps)


if __name__ == "__main__":
    main()
