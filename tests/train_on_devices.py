"""Trains digits on several numbers of devices, in one or several processes.

    python -m tests.train_on_devices FOLDER DEVICES...

Each run is in FOLDER/<devices>-<charges>-<microbatches>; prints the collectives of the training steps as JSON.
"""

import itertools
import json
import math
import re
import sys
from pathlib import Path
from unittest import mock

import jax
import numpy as np

import run_lib
from pfgm_jax import build, sharding
from pfgm_jax import config as config_lib
from pfgm_jax.keys import Keys
from pfgm_jax.sharding import Devices
from pfgm_jax.training import requests, step
from tests.test_run_lib import small_digits

# "kernel" is PFGM++ with the data set as target, whose kernel has D = 8, and "labels" the batch; both with classes.
CASES = [*itertools.product(("batch", "dataset"), (1, 2)), ("kernel", 1), ("labels", 1)]


def config_of(charges, accumulate):
    config = small_digits()
    training = config.training
    training.accumulate, training.field_chunk = accumulate, 30
    training.field_reference = {"kernel": "dataset", "labels": "batch"}.get(charges, charges)
    if charges in ("kernel", "labels"):
        config.model.num_classes, config.model.label_dropout = 10, 0.3
    if charges == "kernel":
        training.sde, config.pfgmpp.D = "pfgmpp", 8.0
    training.spread_from = 4 if charges == "dataset" else 8
    training.log_freq, training.batch_size, training.small_batch_size = 1, 96, 32
    return config


def first(count):
    return Devices(jax.sharding.Mesh(np.array(jax.devices()[:count]), (sharding.AXIS,)))


def collectives(config, devices):
    """Collectives of a compiled training step: name -> how many numbers each of them brings."""
    dataset = build.load_dataset(config)
    config = config_lib.fill_in(config, dataset)
    state = step.shapes_of_state(config, devices)
    parameters = sum(p.size for p in jax.tree.leaves(state.params))
    held = sum(math.prod(p.sharding.shard_shape(p.shape)) for p in jax.tree.leaves(state))
    in_batch = config.training.field_reference == "batch"
    rows = config.training.batch_size if in_batch else config.training.small_batch_size
    batch = next(step.batches(config, dataset.train, devices, 0, 1))
    charges = None if in_batch else devices.share_out(dataset.train)
    flag = requests.SharedRequest(devices).flag(False)
    # With the arguments of a run, which then finds it compiled.
    key = Keys.from_seed(config.seed, devices.whole).train
    hlo = step.create_step(config, devices).lower(state, key, batch, charges, flag).compile().as_text()
    in_parts = [p.size for p in jax.tree.leaves(state.ema_params) if not p.sharding.is_fully_replicated]
    found = {"parameters": parameters, "rows": rows, "held": held, "spread": sum(in_parts), "arrays": len(in_parts)}
    pattern = r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    for shapes, name in re.findall(pattern, hlo):
        sizes = [
            int(np.prod([int(n) for n in dims.split(",") if n])) for dims in re.findall(r"\w+\[([\d,]*)\]", shapes)
        ]
        found.setdefault(name, []).append(sum(sizes))
    return found


def main():
    folder, *counts = sys.argv[1:]
    sharding.start_processes(multihost=False)
    largest = max(map(int, counts))
    for count in map(int, counts):
        for charges, accumulate in CASES:
            config = config_of(charges, accumulate)
            if count == largest and jax.process_count() == 1:
                print(json.dumps([charges, accumulate, collectives(config, first(count))]))
            # Every case on one device; half of them on 8, and the others on 4.
            if count == 1 or (count == 8) == ((charges in ("batch", "labels")) == (accumulate == 1)):
                # On several devices in two parts, so that what is spread is saved and restored.
                steps = config.training.n_iters
                for config.training.n_iters in (steps,) if count == 1 else (steps // 2, steps):
                    with mock.patch.object(Devices, "all", lambda count=count: first(count)):
                        run_lib.train(config, Path(folder) / f"{count}-{charges}-{accumulate}")


if __name__ == "__main__":
    main()
