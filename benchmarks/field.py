"""The field by matrix products beside the broadcast formula: time, peak memory, error.

    python -m benchmarks.field

Each is measured in a process of its own, one after the other; memory is how far the process's resident size rises
during the computation (on Linux). The broadcast formula is the definition, written plainly in NumPy in float32, where
the memory suffices.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

POINTS = 128
CHARGES, DIM = (512, 4096, 50_000), (192, 3072, 12_288)
PAPER = (4096, 3072)
CHUNK = 4096
LARGEST = 13 << 30  # bytes of the two arrays of differences that the broadcast formula holds at a time
SCALES = (1e-3, 1.0, 1000.0, 3e4)


def _problem(charges: int, dim: int, scale: float = 3.0):
    """Image-like charges, duplicates among them, and points at distances up to `scale`, one on a charge."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.standard_normal(shape, np.float32)
    y = np.tanh(0.5 * normal(charges, 20) @ normal(20, dim)) + 0.3 * normal(charges, dim)
    y[charges // 2 :][: POINTS // 2] = y[: POINTS // 2]
    direction = normal(POINTS, dim)
    direction *= rng.uniform(0, scale, (POINTS, 1)) / np.linalg.norm(direction, axis=1, keepdims=True)
    direction[0] = 0
    z = rng.uniform(0, scale, POINTS)
    z[0] = 0
    as_float32 = lambda a: np.asarray(a, np.float32)
    return as_float32(y[:POINTS] + direction), as_float32(z), as_float32(y)


def broadcast_formula(x, z, charges):
    """The field as it is defined, with all differences at once."""
    difference = charges[None] - x[:, None]
    squared = (difference**2).sum(-1) + z[:, None] ** 2
    weights = (squared.min(1, keepdims=True) / np.maximum(squared, 1e-30)) ** ((x.shape[1] + 1) / 2)
    weights /= weights.sum(1, keepdims=True)
    return np.concatenate([(weights[..., None] * difference).sum(1), -z[:, None]], axis=1)


def exact_field(x, z, charges):
    """The field in float64, point by point."""
    rows = []
    for point, height in zip(x.astype(np.float64), z.astype(np.float64), strict=True):
        difference = charges - point
        squared = (difference**2).sum(1) + height**2
        weights = (
            (squared.min() / np.maximum(squared, 1e-300)) ** ((x.shape[1] + 1) / 2) if squared.min() else squared == 0
        )
        rows.append(np.append(weights @ difference / weights.sum(), -height))
    return np.array(rows)


def _ours():
    # Not for those that measure NumPy, which are spared the seconds and the memory.
    import jax

    from pfgm_jax.field import poisson_field

    return jax, jax.jit(poisson_field, static_argnames="chunk_size")


def _measure(which: str, charges: int, dim: int) -> dict[str, float]:
    problem = _problem(charges, dim)
    if which == "ours":
        jax, field = _ours()
        arrays = [jax.device_put(a) for a in problem]
        compiled = field.lower(*arrays, chunk_size=CHUNK).compile()
        compute, repeat = (lambda: jax.block_until_ready(compiled(*arrays))), 2
    else:
        compute, repeat = (lambda: broadcast_formula(*problem)), 1
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "bytes": _resident("VmHWM") - before}


def _resident(name: str) -> int:
    """The process's resident size in bytes: VmRSS, or its peak, VmHWM."""
    return 1024 * int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith(name)))


def _in_turns(charges: int, dim: int) -> dict[str, dict[str, float]]:
    """What each needed, in a process for every measurement."""
    found = {}
    for name in ("ours", "broadcast") if 8 * POINTS * charges * dim <= LARGEST else ("ours",):
        command = [sys.executable, "-m", "benchmarks.field", "--measure", name, str(charges), str(dim)]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    measure = parser.parse_args().measure
    if measure:
        print(json.dumps(_measure(measure[0], int(measure[1]), int(measure[2]))))
        return
    print(
        f"the field at {POINTS} points, at most {CHUNK} charges at a time; ratios are of the broadcast formula to ours"
    )
    columns = f"{'ours':>10} {'broadcast':>10} {'ratio':>6}"
    print(f"{'N':>6} {'charges':>8} {columns} {columns}")
    ours = {}
    for dim, charges in itertools.product(DIM, CHARGES):
        found = _in_turns(charges, dim)
        ours[charges, dim] = found["ours"]["seconds"]
        line = f"{dim:6} {charges:8}"
        for quantity, unit, scale in (("seconds", "ms", 1e3), ("bytes", "MB", 1e-6)):
            mine = found["ours"][quantity] * scale
            line += f" {mine:7.4g} {unit}"
            if "broadcast" in found:
                theirs = found["broadcast"][quantity] * scale
                line += f" {theirs:7.6g} {unit} {theirs / max(mine, 1):6.0f}"
            else:
                line += f" {'does not fit':>17}"
        print(line, flush=True)
    share = ours[50_000, DIM[1]] / ours[4096, DIM[1]]
    print(f"50,000 charges take {share:.1f} times the time of 4,096 at N = {DIM[1]}")
    print(f"worst relative error of a row against float64, {PAPER[0]} charges, N = {PAPER[1]}:")
    _, field = _ours()
    for scale in SCALES:
        x, z, charges = _problem(*PAPER, scale)
        problem = x[::8], z[::8], charges
        exact = exact_field(*problem)
        norm = np.maximum(np.linalg.norm(exact, axis=1), 1e-30)
        errors = [
            (np.linalg.norm(np.asarray(field(*problem, chunk_size=size)) - exact, axis=1) / norm).max()
            for size in (CHUNK, 1000)
        ]
        print(f"points at up to {scale:g}: {errors[0]:.1e}, in chunks of 1000 {errors[1]:.1e}", flush=True)


if __name__ == "__main__":
    main()
