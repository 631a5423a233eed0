"""How often restorations come to each image of a small data set, beside the posterior, which is known there.

    python -m benchmarks.posterior [--methods poisson vpsde flow]

The data are 16 images of 4 x 4 pixels, whose exact field takes the network's place. The upper half of one is measured:
without noise, where four images have that half, or with noise of a given standard deviation, in 4 draws of it. Printed
for each rule and sampler is the total variation between the shares of 4,096 restorations and the posterior (with noise
the mean over its draws, of 1,024 restorations each), and without noise the root mean square of A x - y that 95 % of the
restorations are below.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from pfgm_jax.registry import RULES, SAMPLERS
from pfgm_jax.restoration import restored
from pfgm_jax.restoration.operators.inpaint import Inpaint
from tests.posterior import CHARGES, SHAPE, N, context_of, drawn, method_of, posterior, shares

RULE_NAMES = ("null_space", "pigdm", "dps")
SOLVERS = {
    "dpmpp_2m, 100": SAMPLERS["dpmpp_2m"](steps=100),
    "ddim, eta 1, 200": SAMPLERS["ddim"](steps=200, eta=1.0),
    "repaint, 40 x 10": SAMPLERS["repaint"](steps=40, resamplings=10),
}
NOISES, DRAWS, OF = (0.5,), 4, 5


def main() -> None:
    """Prints a line for each method, rule and sampler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["poisson", "vpsde", "flow"])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    noises = rng.normal(size=(DRAWS, 16)).astype(np.float32)
    columns = "".join(f"{f'noise {std}':>12}" for std in (0.0, *NOISES))
    print(f"{'method':10}{'rule':12}{'sampler':20}{columns}{'misfit':>12}{'seconds':>9}")
    for name in arguments.methods:
        method = method_of(name)
        for rule in RULE_NAMES:
            for solver, sampler in SOLVERS.items():
                if not sampler.supports(method):
                    continue
                start, cells = time.perf_counter(), []
                around = restored(method, Inpaint(SHAPE), RULES[rule]())
                x = drawn(around, sampler, context_of(CHARGES[OF]))
                misfit = np.quantile(np.sqrt(((x[:, :8] - CHARGES[OF, :8]) ** 2).mean(axis=1)), 0.95)
                cells.append(0.5 * np.abs(shares(x)[0] - posterior(CHARGES[OF], 0.0)).sum())
                for std in NOISES:
                    around = restored(method, Inpaint(SHAPE), RULES[rule](), (std,))
                    rows = [context_of(CHARGES[OF] + std * noise, N // DRAWS) for noise in noises]
                    x = drawn(around, sampler, jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows))
                    of_draws = zip(np.split(x, DRAWS), noises, strict=True)
                    away = [
                        np.abs(shares(part)[0] - posterior(CHARGES[OF] + std * e, std)).sum() for part, e in of_draws
                    ]
                    cells.append(0.5 * float(np.mean(away)))
                numbers = "".join(f"{cell:12.3f}" for cell in cells)
                seconds = time.perf_counter() - start
                print(f"{name:10}{rule:12}{solver:20}{numbers}{misfit:12.1e}{seconds:9.0f}", flush=True)


if __name__ == "__main__":
    main()
