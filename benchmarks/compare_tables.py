"""The tables of `benchmarks.compare`, and what they say of the paper's claims."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.compare_plan import CELLS, DIFFUSIONS, FEW, METHODS, ODE, STOCHASTIC

Found = dict[str, list[dict[str, Any]]]
COLUMNS = {
    "evaluations": "evaluations",
    "fid": "FD",
    "fid_test": "FD, test",
    "feature_kid": "1000 KID",
    "feature_kid_test": "KID, test",
    "memorized": "memorized",
    "nearer_than_test": "nearer",
    "seconds": "seconds",
}
# Probability with which chance alone makes a difference that is called one.
CHANCE = 0.05


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean of the seeds' values and its standard error, NaN of one seed."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")


def shown(values: Sequence[float]) -> str:
    """Shows the mean of the seeds' values with its standard error."""
    mean, error = mean_and_error(values)
    digits = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 4 if abs(mean) < 1 else 3
    return f"{mean:.{digits}f}" + (f" ± {error:.{digits}f}" if np.isfinite(error) else "")


def _rows(rows: list[list[str]], names: int = 2) -> str:
    """Aligns a table, whose first columns are names."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    pad = lambda i, cell: cell.ljust(widths[i]) if i < names else cell.rjust(widths[i])
    line = lambda row: "  ".join(pad(i, cell) for i, cell in enumerate(row))
    return "\n".join(line(row).rstrip() for row in rows)


def values_of(found: Found, method: str, part: str, name: str) -> list[float]:
    """Returns a value of each seed, of a cell or of another part of what was measured."""
    return [run[part][name] * (1000 if name.startswith("feature_kid") else 1) for run in found[method]]


def samples_table(found: Found) -> str:
    """Shows what was measured of samples."""
    rows = [["method", "sampler", *COLUMNS.values()]]
    for method in METHODS:
        for cell in CELLS:
            if method in cell.methods:
                rows.append(
                    [method, cell.name, *(shown(values_of(found, method, cell.name, name)) for name in COLUMNS)]
                )
    return _rows(rows)


def images_table(found: Found) -> str:
    """Shows what was measured of images, and of training."""
    columns = {
        ("images", "bits_test"): "bits/dim, test",
        ("images", "bits_train"): "bits/dim, training",
        ("images", "inversion"): "inversion",
        ("train", "held_out_loss"): "held-out loss",
        ("train", "fitted_loss"): "training loss",
        ("train", "seconds"): "seconds of training",
    }
    rows = [["method", *columns.values()]]
    for method in METHODS:
        rows.append([method, *(shown(values_of(found, method, *column)) for column in columns)])
    return _rows(rows, 1)


def _compared(a: Sequence[float], b: Sequence[float]) -> str:
    """Says how a compares with b, over the same seeds."""
    mean, error = mean_and_error([x - y for x, y in zip(a, b, strict=True)])
    if not np.isfinite(error):
        return f"{'smaller' if mean < 0 else 'larger'}, one seed"
    if abs(mean) <= scipy.stats.t.ppf(1 - CHANCE / 2, len(a) - 1) * error:
        return f"no difference beyond chance ({mean:+.4f} ± {error:.4f})"
    return f"{'smaller' if mean < 0 else 'larger'} by {abs(mean):.4f} ± {error:.4f}"


def claims(found: Found) -> str:
    """Says what the tables say of the paper's claims."""
    of = lambda method, cell, name="fid": values_of(found, method, cell, name)
    average: Callable[..., float] = lambda *key: mean_and_error(of(*key))[0]
    lines = [
        "1. PFGM's ODE makes better samples than the ODEs of diffusions. Distance of its samples, pixels; features:"
    ]
    for other in DIFFUSIONS:
        both = (_compared(of("PFGM", ODE.name, name), of(other, ODE.name, name)) for name in ("fid", "feature_kid"))
        lines.append(f"   beside {other}: " + "; ".join(both))
    lines.append("2. They are as good as those of SDEs, with 10 to 20 times fewer evaluations:")
    for method in METHODS:
        for cell in CELLS:
            if cell.name in STOCHASTIC and method in cell.methods:
                ratio = average(method, cell.name, "evaluations") / average("PFGM", ODE.name, "evaluations")
                both = (_compared(of("PFGM", ODE.name, n), of(method, cell.name, n)) for n in ("fid", "feature_kid"))
                lines.append(f"   beside {method}, {cell.name}, {ratio:.1f} times as many: " + "; ".join(both))
    few = " and with ".join(cell.name for cell in FEW)
    lines.append(f"3. They bear larger steps. Distance with {few} over that of RK45, pixels; features:")
    for method in METHODS:
        ratios = (
            ", ".join(f"{average(method, cell.name, n) / average(method, ODE.name, n):.2f}" for cell in FEW)
            for n in ("fid", "feature_kid")
        )
        lines.append(f"   {method}: " + "; ".join(ratios))
    lines.append("4. The model is invertible, with competitive likelihoods. Bits per dimension of PFGM, test:")
    for other in METHODS:
        if other != "PFGM":
            bits = (values_of(found, method, "images", "bits_test") for method in ("PFGM", other))
            lines.append(f"   beside {other}: {_compared(*bits)}")
    return "\n".join(lines)


def text(name: str, made: dict[str, Any], found: Found, machine: str) -> str:
    """Returns all tables as text.

    Args:
      name: of the data.
      made: the plan.
      found: what was measured with each seed, by method.
      machine: what it was measured on.
    """
    head = (
        f"{name}: {made['steps']} steps, {made['seeds']} seeds, means with standard errors\n{machine}\n"
        "FD: Fréchet distance in pixels to the training split (test: to the test split). KID: kernel distance of\n"
        "EfficientNet-Lite0's features, times 1000. memorized: 0 for new images, 1 for copies of training images.\n"
        "nearer: share of samples nearer to a training image than the median test image. inversion: root mean square\n"
        "error of a pixel after encoding and decoding, black being 0 and white 1."
    )
    return "\n\n".join([head, samples_table(found), images_table(found), claims(found)]) + "\n"
