"""What a model with labels gives for labels of several images, on all devices of the process; as JSON.

python -m tests.context_on_devices
"""

import json

import jax
import numpy as np

from pfgm_jax import config as config_lib
from pfgm_jax.context import Context
from pfgm_jax.datasets import load_dataset
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers import OdeSolver
from pfgm_jax.trained_model import TrainedModel
from tests import straight_lines
from tests.test_run_lib import small_digits

LABELS = np.array([-0.5, 0.25, 0.0, 0.75, -1.0, 0.5, 0.125])
SEED = 5


def model_of(**overrides) -> TrainedModel:
    """A model whose network answers with the label, so that images of label c are N(c, σ_min²)."""
    fields = {"training.sde": "straight", "model.name": "label", "straight.sigma_min": 0.3, "sampling.N": 8}
    fields |= {"sampling.rtol": 1e-4, "sampling.atol": 1e-4, "sampling.batch_size": 3, "eval.batch_size": 3}
    config = config_lib.fill_in(small_digits(**fields, **overrides), load_dataset("digits"))
    return TrainedModel(config, {}, 0)


def results(solvers=tuple(SAMPLERS), likelihoods=("rk45", "tsit5")) -> dict[str, list]:
    """Samples, latents, images and log densities of the labels, for solvers with shared and own steps."""
    found = {}
    context = Context(label=LABELS)
    for name in solvers:
        for shared in (False, True) if getattr(SAMPLERS[name], "adaptive", False) else (False,):
            if not issubclass(SAMPLERS[name], OdeSolver):
                continue
            model = model_of(**{"sampling.ode_solver": name, "sampling.shared_step": shared})
            generator = model.generator
            samples = np.concatenate([s.check().x for s in model.draw(len(LABELS), SEED, context=context)])
            latents = generator.encode({}, samples, context)
            found[f"{name}, {'shared' if shared else 'own'}"] = {
                "samples": samples[:, 0, 0, 0].tolist(),
                "latents": latents[:, 0, 0, 0].tolist(),
                "back": generator.decode({}, latents, context)[:, 0, 0, 0].tolist(),
            }
    images = np.full((len(LABELS), 8, 8, 1), 8, np.uint8)
    for solver in likelihoods:
        for shared in (False, True):
            model = model_of(**{"sampling.ode_solver": solver, "sampling.shared_step": shared})
            name = f"{solver} {'shared' if shared else 'own'} likelihood"
            found[name] = model.log_prob(images, seed=SEED, context=context).tolist()
    exact = model_of(**{"eval.divergence": "exact"})
    found["exact likelihood"] = exact.log_prob(images, seed=SEED, context=context).tolist()
    jumping = model_of(**{"sampling.method": "jump"})
    jumps = np.concatenate([s.check().x for s in jumping.draw(len(LABELS), SEED, context=context)])
    found["jump"] = jumps[:, 0, 0, 0].tolist()
    return found


if __name__ == "__main__":
    straight_lines.register()
    # Devices share the rows in one way, whatever is computed of them.
    print(json.dumps({"devices": jax.device_count(), "found": results(("euler", "rk45"), ("rk45",))}))
