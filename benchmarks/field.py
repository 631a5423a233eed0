"""The field by matrix products beside the broadcast formula: time, peak memory, error.

    python -m benchmarks.field

Each is measured in a process of its own, one after the other and twice over; memory is the growth of the process's
peak resident size during the computation. The broadcast formula is the definition, written plainly in NumPy in float32.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time

import jax
import numpy as np

from pfgm_jax.field import poisson_field

POINTS, CHARGES, DIM = 128, 4096, 3072
SCALES = (1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0, 3e4)


def _problem(scale: float = 3.0):
    """Image-like charges, duplicates among them, and points at distances up to `scale`, one on a charge."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(20, DIM))
    charges = np.tanh(0.5 * rng.normal(size=(CHARGES, 20)) @ basis) + 0.3 * rng.normal(size=(CHARGES, DIM))
    charges[CHARGES // 2 :][: POINTS // 2] = charges[: POINTS // 2]
    direction = rng.normal(size=(POINTS, DIM))
    direction *= rng.uniform(0, scale, (POINTS, 1)) / np.linalg.norm(direction, axis=1, keepdims=True)
    direction[0] = 0
    z = rng.uniform(0, scale, POINTS)
    z[0] = 0
    as_float32 = lambda a: np.asarray(a, np.float32)
    return as_float32(charges[:POINTS] + direction), as_float32(z), as_float32(charges)


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


def _measure(which: str) -> dict[str, float]:
    x, z, charges = _problem()
    if which == "ours":
        arrays = [jax.device_put(a) for a in (x, z, charges)]
        compute = lambda: jax.block_until_ready(poisson_jit(*arrays))
        poisson_jit = jax.jit(poisson_field).lower(*arrays).compile()
        repeat = 5
    else:
        compute, repeat = (lambda: broadcast_formula(x, z, charges)), 1
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before = peak()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "bytes": peak() - before}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", choices=("ours", "broadcast"))
    which = parser.parse_args().measure
    if which:
        print(json.dumps(_measure(which)))
        return
    print(f"{platform.processor() or platform.machine()}, JAX {jax.__version__}, NumPy {np.__version__}")
    print(f"field of {CHARGES} charges at {POINTS} points, N = {DIM}")
    best: dict[str, dict[str, float]] = {}
    for name in ("ours", "broadcast") * 2:
        command = [sys.executable, "-m", "benchmarks.field", "--measure", name]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        best[name] = {k: min(v, best.get(name, result)[k]) for k, v in result.items()}
    for quantity, unit, scale in (("seconds", "s", 1), ("bytes", "MB", 1e-6)):
        ours, theirs = best["ours"][quantity] * scale, best["broadcast"][quantity] * scale
        print(f"{quantity}: ours {ours:.3g} {unit}, broadcast {theirs:.3g} {unit}, ratio {theirs / ours:.0f}")
    field = jax.jit(poisson_field, static_argnames="chunk_size")
    for scale in SCALES:
        problem = _problem(scale)
        exact = exact_field(*problem)
        norm = np.maximum(np.linalg.norm(exact, axis=1), 1e-30)
        errors = [
            (np.linalg.norm(np.asarray(field(*problem, chunk_size=size)) - exact, axis=1) / norm).max()
            for size in (CHARGES, 1000)
        ]
        print(f"scale {scale:g}: worst relative error of a row {errors[0]:.1e}, in chunks of 1000 {errors[1]:.1e}")


if __name__ == "__main__":
    main()
