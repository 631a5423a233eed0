"""Records: what decides the numbers that a trained model computes."""

import zlib
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import PyTree

from pfgm_jax import build, config_files, given
from pfgm_jax.datasets import Split
from pfgm_jax.generator import Generator


def of_model(
    config: ml_collections.ConfigDict, params: PyTree, step: int, generator: Generator, examples: Split | None
) -> dict[str, Any]:
    """Returns what decides the numbers that a model computes: its parameters and the options of using them.

    Args:
      config: whose fields are filled in.
      params, step: of the checkpoint.
      generator: of the config.
      examples: see `TrainedModel`.
    """
    weights = 0
    for leaf in jax.tree.leaves(jax.device_get(params)):
        weights = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), weights)
    values = config_files.to_dict(config)
    # What earlier versions made has no `method`; it stays valid.
    left_out = ["num_samples", "checkpoint", "then", *(["method"] if config.sampling.method == "ode" else [])]
    if not config.sampling.shared_step:
        left_out.append("batch_size")  # of which nothing depends but rounding
    sampling = {k: v for k, v in values["sampling"].items() if k not in left_out}
    if not build.takes_labels(config):
        left_out += ["label", "guidance", "guidance_interval"]
        sampling = {k: v for k, v in sampling.items() if k not in left_out}
    fields = [*generator.method.fields.values(), *generator.sampler.fields.values(), *generator.solver.fields.values()]
    seen = {}
    if examples is not None and given.needs_examples(config):
        seen["given"] = given.hash_of(examples)
    groups = {field.split(".")[0] for field in fields} - {"data", "training", "sampling", "model"}
    of_config = {"data": values["data"] | {"dir": ""}, "sampling": sampling, "dtype": config.model.dtype}
    return {
        "step": step,
        "weights": weights,
        "seed": config.seed,
        **seen,
        **of_config,
        **{g: values[g] for g in groups},
    }
