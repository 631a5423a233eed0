"""What `benchmarks.compare` trains and samples: data, methods, samplers, and how many steps a budget of time allows."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import ml_collections

import run_lib
from pfgm_jax import config_files
from pfgm_jax.config import validate

# Share of the budget that training takes; samples, of which SDEs take thousands of evaluations, take the rest.
TRAINING = 0.25
# Steps that are run for the plan. The second half is timed, when all images of the data sets here are decoded.
TIMED = 160


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set, the network for it, and how much is measured.

    Attributes:
      experiment: file of configs/ whose network and data all methods share.
      changes: to its config, on a CPU.
      on_gpu: changes to its config on a GPU.
      most_steps: of training, however large the budget is.
      samples: compared in each cell.
      images: whose likelihoods are measured, of each split.
      seeds: of training and sampling, unless the command says otherwise.
      weak_width: `model.nf` of the weak network.
      weak_steps: most steps of its training; its convolutions take a CPU many times as long as a perceptron.
    """

    experiment: str
    changes: dict[str, Any]
    on_gpu: dict[str, Any]
    most_steps: int
    samples: int
    images: int
    seeds: int
    weak_width: int
    weak_steps: int


DATA = {
    "digits": Data("digits_mlp", {"model.nf": 256}, {}, 4000, 1000, 200, 5, 8, 600),
    # On a CPU a perceptron, since SDEs need thousands of evaluations; on a GPU the U-Net of the config.
    "fashion_mnist": Data(
        "fashion_mnist",
        {
            "model.name": "mlp",
            "model.nf": 512,
            "training.batch_size": 1024,
            "training.small_batch_size": 256,
            "optim.lr": 1e-3,
            "optim.warmup": 100,
        },
        {"model.nf": 64, "model.num_res_blocks": 1, "optim.lr": 5e-4, "optim.warmup": 200},
        20_000,
        1000,
        100,
        1,
        16,
        2000,
    ),
}

# By their names in the tables: what each method changes.
METHODS: dict[str, dict[str, Any]] = {
    "PFGM": {"training.sde": "poisson"},
    "PFGM++": {"training.sde": "pfgmpp", "pfgmpp.D": 128.0},
    "VE": {"training.sde": "vesde", "training.prediction": "noise"},
    "VP": {"training.sde": "vpsde"},
    "sub-VP": {"training.sde": "subvpsde"},
    "flow": {"training.sde": "flow"},
}
ALL = tuple(METHODS)
DIFFUSIONS = ("VE", "VP", "sub-VP")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A way to sample.

    Attributes:
      name: in the tables.
      methods: that are sampled so.
      changes: to the config.
    """

    name: str
    methods: tuple[str, ...]
    changes: dict[str, Any]


def _ode(name: str, solver: str, steps: int) -> Cell:
    return Cell(name, ALL, {"sampling.method": "ode", "sampling.ode_solver": solver, "sampling.N": steps})


ODE = _ode("ODE, RK45", "rk45", 100)
FEW = (_ode("10 evaluations", "dpmpp_2m", 10), _ode("5 evaluations", "dpmpp_2m", 5))
CELLS = (
    ODE,
    _ode("20 evaluations", "dpmpp_2m", 20),
    *FEW,
    Cell("DDIM", ("VP",), {"sampling.method": "ddim", "sampling.N": 50}),
    Cell("SDE, predictor-corrector", ("VE",), {"sampling.method": "pc", "sampling.N": 1000}),
    Cell(
        "SDE, Euler-Maruyama",
        ("VP", "sub-VP"),
        {
            "sampling.method": "pc",
            "sampling.N": 1000,
            "sampling.predictor": "euler_maruyama",
            "sampling.corrector": "none",
        },
    ),
    Cell("DDPM, ancestral", ("VP",), {"sampling.method": "ddpm", "sampling.N": 1000}),
    Cell(
        "NCSN, annealed Langevin",
        ("VE",),
        {"sampling.method": "annealed_langevin", "sampling.N": 200, "sampling.n_steps_each": 5},
    ),
    Cell("EDM, churn", ("VE",), {"sampling.method": "edm", "sampling.N": 128}),
)
STOCHASTIC = tuple(cell.name for cell in CELLS if cell.changes["sampling.method"] not in ("ode", "ddim"))


def config_of(data: Data, method: str, seed: int, steps: int, gpu: bool) -> ml_collections.ConfigDict:
    """Creates the config of a run: that of the data with the changes of the method."""
    config = config_files.load_experiment(data.experiment)
    fields = {**(data.on_gpu if gpu else data.changes), "training.field_reference": ""}
    # The methods other than PFGM look at single examples; all are shown the same batches.
    fields |= {"training.snapshot_sampling": False, "training.n_iters": steps, "training.snapshot_freq": steps}
    fields |= {"training.eval_freq": max(1, steps // 10), "seed": seed, "sampling.batch_size": 500, **METHODS[method]}
    config.update_from_flattened_dict(fields)
    return config


def sampled(config: ml_collections.ConfigDict, cell: Cell) -> ml_collections.ConfigDict:
    """Returns the config of a run with the sampler of a cell.

    Raises:
      InputError: the method cannot be sampled so.
    """
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(cell.changes)
    validate(config)
    return config


def weak_config(data: Data, method: str, steps: int, gpu: bool) -> ml_collections.ConfigDict:
    """Creates the config of a run of the weak network, NCSNv2."""
    config = config_of(data, method, 0, min(steps, data.weak_steps), gpu)
    config.model.name, config.model.nf = "ncsnv2", data.weak_width
    return sampled(config, ODE)


def plan(folder: Path, data: Data, budget: float, seeds: int, gpu: bool) -> dict[str, Any]:
    """Returns how many steps and seeds there are; what `folder`/plan.json says stays, so that a command can go on.

    Args:
      folder: of all runs of the data.
      data: what is compared.
      budget: minutes.
      seeds: how many.
      gpu: whether sizes are those for a GPU.

    Raises:
      SystemExit: the plan that is there is another one.
    """
    path = folder / "plan.json"
    asked = {"budget": budget, "seeds": seeds, "gpu": gpu}
    if path.exists():
        found = json.loads(path.read_text())
        if {name: found[name] for name in asked} != asked:
            raise SystemExit(f"{path} holds another plan, {found}; give the same flags, or another --folder")
        return found
    seconds = _seconds_of_step(folder / "timing", data, gpu)
    affordable = int(TRAINING * budget * 60 / (seconds * seeds * len(METHODS)))
    found = {**asked, "steps": max(100, min(data.most_steps, affordable)), "seconds_of_step": seconds}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    return found


def _seconds_of_step(workdir: Path, data: Data, gpu: bool) -> float:
    """Times steps of PFGM, which take longest."""
    config = config_of(data, "PFGM", 0, TIMED, gpu)
    config.training.log_freq = TIMED // 2
    config.training.eval_freq = 10 * TIMED
    run_lib.train(config, workdir)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return 1 / lines[-1]["steps_per_second"]
