"""Every method with Gaussian noise and every sampler: do all charges of a small data set get their share of samples?

    python -m benchmarks.shares [--dims 2 16 192] [--samples 1600]

The network knows the answer: it computes the mean of 16 random points of the cube [-1, 1]^N as seen from where it is
asked. Printed are, for each number of dimensions N, the p-value of a chi-square test that each point got a 16th of the
samples, and how far the farthest sample lies from its point. Under the null hypothesis one in a thousand p-values is
below 0.001.
"""

import argparse

import jax
import numpy as np
from scipy import stats

from pfgm_jax.keys import sample_keys
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers import create_sampler
from pfgm_jax.sampling import sample
from tests.exact import METHODS, network_of_charges

CHARGES = 16


def options_of(sampler: str, method) -> dict:
    """The options of a sampler with which it has the steps that it needs."""
    if sampler == "annealed_langevin":
        return {"steps": 50, "steps_each": 10, "step_size": 0.2 * float(np.exp(2 * method.t_data))}
    return {"pc": {"steps": 1000}, "ddim": {"eta": 1.0}}.get(sampler, {})


def main() -> None:
    """Prints a line for each method and sampler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 16, 192])
    parser.add_argument("--samples", type=int, default=1600)
    arguments = parser.parse_args()
    print(f"{'method':10}{'sampler':20}" + "".join(f"{f'N = {dim}: p':>14}{'distance':>10}" for dim in arguments.dims))
    for name, kind in METHODS.items():
        for sampler in SAMPLERS:
            if not SAMPLERS[sampler].supports(kind((1, 1, 2))):
                continue
            line = f"{name:10}{sampler:20}"
            for dim in arguments.dims:
                charges = np.random.default_rng(dim).uniform(-1, 1, (CHARGES, dim)).astype(np.float32)
                method = kind((1, 1, dim))
                net, drawn_by = (
                    network_of_charges(method, charges),
                    create_sampler(sampler, **options_of(sampler, method)),
                )
                draw = jax.jit(lambda keys, m=method, n=net, s=drawn_by: sample(m, n, s, keys))
                x = np.asarray(draw(sample_keys(jax.random.key(1), arguments.samples)).check().x).reshape(-1, 1, dim)
                nearest = np.stack([np.linalg.norm(x[:, 0] - charge, axis=1) for charge in charges], axis=1)
                p = stats.chisquare(np.bincount(nearest.argmin(axis=1), minlength=CHARGES)).pvalue
                line += f"{p:14.3f}{nearest.min(axis=1).max():10.4f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
