"""Convolutions on a CPU by the kernels that XLA chooses by itself, and by those that this package has it use.

    python -m benchmarks.convolutions [--rounds 5]

A convolution of 3 x 3 with as many channels as it is given, its gradient with respect to the image and that with
respect to the kernel, in turns; see `pfgm_jax.cpu_kernels`.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from pfgm_jax import cpu_kernels

SHAPES = ((128, 32, 32), (128, 16, 64), (128, 8, 64), (64, 8, 32))  # images, their side, channels
KINDS = {
    "XLA's": f"{cpu_kernels.FUSIONS},LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
    "ours": cpu_kernels.FUSIONS,
}


def convolution(x, kernel):
    """Convolves images [b, H, W, c]."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


PARTS = {
    "forward": lambda x, kernel, g: convolution(x, kernel),
    "of the image": lambda x, kernel, g: jax.linear_transpose(lambda x: convolution(x, kernel), x)(g)[0],
    "of the kernel": lambda x, kernel, g: jax.linear_transpose(lambda k: convolution(x, k), kernel)(g)[0],
}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32))
    print(f"{'images':>16}  {'':14}{'ours, ms':>10}{'XLA’s over ours':>17}")
    for b, side, channels in SHAPES:
        arguments = normal(b, side, side, channels), normal(3, 3, channels, channels), normal(b, side, side, channels)
        for part, function in PARTS.items():
            calls = {
                kind: jax.jit(function, compiler_options={cpu_kernels.OPTION: option}).lower(*arguments).compile()
                for kind, option in KINDS.items()
            }
            took: dict[str, list[float]] = {kind: [] for kind in calls}
            for _ in range(rounds):
                for kind, call in calls.items():
                    start = time.perf_counter()
                    jax.block_until_ready(call(*arguments))
                    took[kind].append(time.perf_counter() - start)
            ours = np.array(took["ours"])
            ratio = np.median(np.array(took["XLA's"]) / ours)
            print(f"{b:5} x {side:2} x {channels:2}  {part:14}{1e3 * np.median(ours):10.3g}{ratio:17.2f}", flush=True)


if __name__ == "__main__":
    main()
