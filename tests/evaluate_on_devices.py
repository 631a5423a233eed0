"""Evaluates a run on several numbers of devices; prints reports as JSON.

python -m tests.evaluate_on_devices WORKDIR DEVICES...
"""

import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import run_lib
from pfgm_jax.sharding import Devices
from tests.test_evaluation import config_of_evaluation
from tests.train_on_devices import first


def main():
    workdir, *counts = sys.argv[1:]
    for count in map(int, counts):
        copy = Path(workdir).with_name(f"on-{count}")
        shutil.copytree(workdir, copy)
        with mock.patch.object(Devices, "all", lambda count=count: first(count)):
            print(json.dumps(run_lib.evaluate(config_of_evaluation(), copy)))


if __name__ == "__main__":
    main()
