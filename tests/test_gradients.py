"""How gradients leave the network, which a compiler for GPUs sees and no result shows."""

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from pfgm_jax import build
from pfgm_jax import config as config_lib
from pfgm_jax.keys import Keys
from pfgm_jax.sharding import Devices
from pfgm_jax.training import losses, step
from tests.test_run_lib import small_digits


def equations(jaxpr):
    """All equations of a jaxpr, and of those inside of it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_gradients_leave_the_network_as_rows_behind_a_barrier():
    # Otherwise XLA keeps Adam's moments in the order of axes in which a GPU's convolutions write gradients.
    config = small_digits(**{"model.name": "ncsnpp", "model.nf": 8, "model.ch_mult": (1,)})
    dataset = build.load_dataset(config)
    config, devices = config_lib.fill_in(config, dataset), Devices.all()
    objective, keys = step.create_objective(config, devices), Keys.from_seed(0, devices.whole)
    params = step.shapes_of_state(config, devices).params
    batch = next(step.batches(config, dataset.train, devices, 0, 1))
    charges = build.create_charges(config, devices).of_dataset(dataset.train)
    rest = keys.train, batch, charges, jnp.zeros(devices.count)
    traced = jax.make_jaxpr(lambda params: losses.gradients(objective, params, *rest))(params)
    (barrier,) = [e for e in equations(traced.jaxpr) if e.primitive.name == "optimization_barrier"]
    assert [variable.aval.shape for variable in barrier.invars] == [(leaf.size,) for leaf in jax.tree.leaves(params)]
    assert any(leaf.ndim == 4 for leaf in jax.tree.leaves(params))
