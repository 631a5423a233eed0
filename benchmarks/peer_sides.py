"""The two sides of `benchmarks.peer`, each a process that answers requests.

    python -m benchmarks.peer_sides ours|theirs FOLDER PEER THREADS

The release's side is run by an interpreter that has torch, which reads this file without JAX.
"""

import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 60  # of training in a turn
SAMPLES = 64
CASES = {
    # How both sample: the release's name and steps; our solver.
    "RK45, one step size for all": (("rk45", 0), {"name": "rk45", "shared_step": True}),
    "RK45, each sample its own": (("rk45", 0), {"name": "rk45"}),
    "Euler, 20 steps": (("forward_euler", 20), {"name": "euler", "steps": 20}),
    "improved Euler, 20 steps": (("improved_euler", 20), {"name": "improved_euler", "steps": 20}),
    "their RK45, our DPM-Solver++ 2M in 20": (("rk45", 0), {"name": "dpmpp_2m", "steps": 20}),
}
# What is imported along the way, and is not part of what is measured.
UNUSED = ("op", "torchvision", "torchvision.utils", "tensorflow", "tensorflow_gan", "tqdm")


def timed(call: Callable[[], Any]) -> tuple[Any, list[float]]:
    """What a call returns, and the seconds of the clock and of all cores that it took."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, [time.perf_counter() - clock, time.process_time() - cpu]


class _Nothing(types.ModuleType):
    """A module of functions that return their first argument."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda first=None, *_, **__: first


class Theirs:
    """The release, in its interpreter."""

    def __init__(self, folder: Path, peer: str):
        missing = [n for n in UNUSED if n == "op" or importlib.util.find_spec(n.split(".")[0]) is None]
        sys.modules.update({name: _Nothing(name) for name in missing})
        sys.path.insert(0, peer)
        torch, ml_collections = importlib.import_module("torch"), importlib.import_module("ml_collections")
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(0)
        if not torch.cuda.is_available():
            torch.Tensor.cuda = lambda self, *_, **__: self
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        importlib.import_module("models.ncsnpp")
        self._losses, self._sampling = importlib.import_module("losses"), importlib.import_module("sampling")
        self._torch, self._folder = torch, folder

        self._config = ml_collections.ConfigDict(json.loads((folder / "config.json").read_text()))
        with self._config.unlocked():
            self._config.device = self._device
        self._method = importlib.import_module("methods").Poisson(self._config)
        model = importlib.import_module("models.utils").create_model(self._config)
        average = importlib.import_module("models.ema").ExponentialMovingAverage(
            model.parameters(), decay=self._config.model.ema_rate
        )
        optimizer = self._losses.get_optimizer(self._config, model.parameters())
        self._state = {"optimizer": optimizer, "model": model, "ema": average, "step": 0}
        arrays = np.load(folder / "arrays.npz")
        options = {"dtype": torch.float32, "device": self._device}
        as_tensor = lambda a: torch.tensor(np.ascontiguousarray(a.transpose(0, 3, 1, 2)), **options)
        self._batch, self._start = as_tensor(arrays["batch"]), as_tensor(arrays["start"])
        self._step = self._losses.get_step_fn(
            self._method,
            train=True,
            optimize_fn=self._losses.optimization_manager(self._config),
            reduce_mean=self._config.training.reduce_mean,
            method_name="poisson",
        )

    def device(self) -> str:
        """Says what it computes on."""
        return self._torch.cuda.get_device_name() if self._device.type == "cuda" else "CPU"

    def train(self, steps: int) -> list[float]:
        """Takes steps."""

        def run():
            for _ in range(steps):
                float(self._step(self._state, self._batch))
            if self._device.type == "cuda":
                self._torch.cuda.synchronize()

        return timed(run)[1]

    def save(self, path: str) -> None:
        """Writes a checkpoint in the release's format."""
        content = {k: self._state[k].state_dict() for k in ("optimizer", "model", "ema")}
        self._torch.save({**content, "step": self._state["step"]}, path)

    def sample(self, case: str) -> tuple[list[float], int]:
        """Samples; the seconds and the evaluations."""
        solver, steps = CASES[case][0]
        self._config.sampling.ode_solver, self._config.sampling.N = solver, steps
        self._method.N = steps
        self._method.prior_sampling = lambda _: self._start.clone()
        to_unit = lambda x: (x + 1) / 2
        sampler = self._sampling.get_sampling_fn(
            self._config, self._method, tuple(self._start.shape), to_unit, self._config.sampling.z_min
        )
        (x, evaluations), seconds = timed(lambda: sampler(self._state["model"]))
        np.save(self._folder / "theirs.npy", x.cpu().numpy().transpose(0, 2, 3, 1))
        return seconds, int(evaluations)


class Ours:
    """Our side, in this interpreter."""

    def __init__(self, folder: Path, _: str):
        import jax
        import jax.numpy as jnp

        from pfgm_jax import build, config_files, convert, datasets, models
        from pfgm_jax.keys import Keys
        from pfgm_jax.latents import decode
        from pfgm_jax.samplers import create_sampler
        from pfgm_jax.sharding import Devices
        from pfgm_jax.training import state
        from pfgm_jax.training.step import create_step, shardings_of_state

        self._jax, self._folder, self._samplers = jax, folder, {}
        self._config = config_files.from_dict(json.loads((folder / "ours.json").read_text()))
        arrays = np.load(folder / "arrays.npz")
        devices = Devices.all()
        train_step = create_step(self._config, devices)
        optimizer = state.create_optimizer(self._config.optim)
        stored = arrays["stored"]
        index = np.arange(len(stored), dtype=np.int32)
        batch = datasets.Batch(devices.place(stored), devices.place_whole(index), devices.place(0 * index))
        flag, key = devices.place(np.zeros(devices.count, np.float32)), Keys.from_seed(0, devices.whole).train
        # Copied, as the step gives its buffers away.
        self._read = lambda path: jax.tree.map(jnp.array, convert.convert_checkpoint(Path(path), self._config)[0])
        placement = shardings_of_state(self._config, devices)
        self._begin = lambda path: jax.device_put(state.create_state(self._read(path), optimizer), placement)
        self._step = lambda before: train_step(before, key, batch, None, flag)[:2]

        model, method = models.create_model(self._config), build.create_method(self._config)
        start = jnp.asarray(arrays["start"])

        def sampler(case):
            solver = create_sampler(**CASES[case][1])

            def sample(params):
                net = lambda x, level, context: jnp.asarray(model.apply({"params": params}, x, level, context))
                return decode(method, net, start, solver)

            return jax.jit(sample)

        self._sampler = sampler

    def load(self, path: str) -> None:
        """Begins with the parameters of a checkpoint of the release."""
        self._params, self._state = self._read(path), self._begin(path)

    def train(self, steps: int) -> list[float]:
        """Takes steps."""

        def run():
            for _ in range(steps):
                self._state, metrics = self._step(self._state)
            self._jax.block_until_ready(metrics)

        return timed(run)[1]

    def sample(self, case: str) -> tuple[list[float], int]:
        """Samples; the seconds and the evaluations, of the sample that took most."""
        sample = self._samplers.setdefault(case, self._sampler(case))
        solution, seconds = timed(lambda: self._jax.block_until_ready(sample(self._params)))
        np.save(self._folder / "ours.npy", (np.asarray(solution.check().x) + 1) / 2)
        return seconds, int(np.max(solution.evaluations))


def serve(side: str, folder: Path, peer: str) -> None:
    """Answers requests: a line of JSON each, the name of a method and its arguments."""
    # What the release prints is not to come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = {"ours": Ours, "theirs": Theirs}[side](folder, peer)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(*arguments)), file=answers, flush=True)


def main() -> None:
    """Serves the side that the command line names, on so many threads."""
    side, folder, peer, threads = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    serve(side, Path(folder), peer)


if __name__ == "__main__":
    main()
