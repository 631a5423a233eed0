"""Evaluates a run on several numbers of devices, in one or several processes; the first prints reports as JSON.

python -m tests.evaluate_on_devices WORKDIR DEVICES...
"""

import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import run_lib
from pfgm_jax import sharding
from pfgm_jax.sharding import Devices
from tests.test_evaluation import config_of_evaluation
from tests.train_on_devices import first


def main():
    workdir, *counts = sys.argv[1:]
    sharding.start_processes(multihost=False)
    for count in map(int, counts):
        copy = Path(workdir).with_name(f"on-{count}")
        sharding.on_first_process(lambda copy=copy: shutil.copytree(workdir, copy))
        with mock.patch.object(Devices, "all", lambda count=count: first(count)):
            report = run_lib.evaluate(config_of_evaluation(), copy)
        if sharding.is_first():
            print(json.dumps(report))


if __name__ == "__main__":
    main()
