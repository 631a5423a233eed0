"""The tables of the comparison: means, standard errors, and what they say."""

import json

import numpy as np
import pytest
import scipy.stats

from benchmarks import compare_figures, compare_plan, compare_tables
from benchmarks.compare_plan import CELLS, DATA, METHODS
from pfgm_jax import build
from pfgm_jax.config import fill_in


def test_means_have_the_standard_errors_of_scipy():
    values = np.random.default_rng(0).normal(size=7).tolist()
    mean, error = compare_tables.mean_and_error(values)
    assert mean == pytest.approx(np.mean(values)) and error == pytest.approx(scipy.stats.sem(values))
    assert compare_tables.shown([0.25, 0.35]) == "0.3000 ± 0.0500"
    assert compare_tables.shown([1000.0, 1002.0]) == "1001 ± 1"
    assert compare_tables.shown([2.5]) == "2.500"


def test_differences_are_those_of_the_same_seeds():
    # All seeds agree that the first is smaller, though seeds differ by more than methods do.
    assert compare_tables._compared([1.0, 2.0, 3.1], [1.1, 2.1, 3.25]) == "smaller by 0.1167 ± 0.0167"
    assert (
        compare_tables._compared([1.0, 2.0, 3.0], [2.0, 1.0, 3.1]) == "no difference beyond chance (-0.0333 ± 0.5783)"
    )
    assert compare_tables._compared([2.0], [1.0]) == "larger, one seed"


def found_of(seeds, fid):
    """What two seeds might have found, with a Fréchet distance for each method."""
    values = dict.fromkeys(("fid_test", "memorized", "nearer_than_test", "seconds"), 0.5)
    of_images = dict.fromkeys(("bits_test", "bits_train", "inversion"), 2.0)
    of_training = dict.fromkeys(("seconds", "held_out_loss", "fitted_loss"), 1.0)
    found = {}
    for method in METHODS:
        runs = []
        for seed in range(seeds):
            run = {"images": of_images, "train": of_training}
            for cell in CELLS:
                if method in cell.methods:
                    distance = (
                        fid[method] * (1 + 0.01 * seed) * ({"10 evaluations": 3, "5 evaluations": 4}.get(cell.name, 1))
                    )
                    features = {"feature_kid": distance / 10, "feature_kid_test": distance / 10}
                    evaluations = 1000.0 if cell.name in compare_tables.STOCHASTIC else 50.0
                    run[cell.name] = {**values, **features, "fid": distance, "evaluations": evaluations}
            runs.append(run)
        found[method] = runs
    return found


def test_claims_are_judged_by_the_numbers():
    found = found_of(3, {"PFGM": 0.2, "PFGM++": 0.1, "VE": 0.4, "VP": 0.1, "sub-VP": 0.2, "flow": 0.3})
    text = compare_tables.text("digits", {"steps": 10, "seeds": 3}, found, "a machine")
    assert "beside VE: smaller by 0.2020 ± 0.0012; smaller by 20.2000 ± 0.1155" in text
    assert "beside VP: larger by 0.1010 ± 0.0006; larger" in text
    assert "beside sub-VP: no difference beyond chance (+0.0000 ± 0.0000); no difference" in text
    assert "beside VE, SDE, predictor-corrector, 20.0 times as many: smaller" in text
    assert "PFGM: 3.00, 4.00; 3.00, 4.00" in text and "beside VP: no difference beyond chance" in text
    # Every cell has its row.
    rows = sum(len(cell.methods) for cell in CELLS)
    assert len(compare_tables.samples_table(found).splitlines()) == 1 + rows


def test_a_plan_stays_and_another_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compare_plan, "_seconds_of_step", lambda *_: 0.05)
    made = compare_plan.plan(tmp_path, DATA["digits"], 60, 5, gpu=False)
    assert made["steps"] == 15 * 60 / (0.05 * 5 * len(METHODS))
    monkeypatch.setattr(compare_plan, "_seconds_of_step", lambda *_: 1.0)
    assert (
        compare_plan.plan(tmp_path, DATA["digits"], 60, 5, gpu=False)
        == made
        == json.loads((tmp_path / "plan.json").read_text())
    )
    with pytest.raises(SystemExit, match="plan.json holds another plan, .*; give the same flags, or another --folder"):
        compare_plan.plan(tmp_path, DATA["digits"], 60, 3, gpu=False)


@pytest.mark.parametrize("name", DATA)
def test_methods_share_their_network_and_batches(name):
    configs = [compare_plan.config_of(DATA[name], method, 3, 100, gpu=False).to_dict() for method in METHODS]
    for config in configs:
        assert config["model"] == configs[0]["model"] and config["optim"] == configs[0]["optim"]
        assert config["training"]["batch_size"] == configs[0]["training"]["batch_size"] and config["seed"] == 3


@pytest.mark.parametrize("name", DATA)
def test_all_runs_and_samplers_fit_their_methods(name):
    dataset = build.load_dataset(compare_plan.config_of(DATA["digits"], "PFGM", 0, 100, gpu=False))
    for gpu in (False, True):
        for method in METHODS:
            config = compare_plan.config_of(DATA[name], method, 0, 100, gpu)
            if name == "digits":  # which need no download
                config = fill_in(config, dataset)
            for cell in CELLS:
                if method in cell.methods:
                    compare_plan.sampled(config, cell)
        for method in compare_figures.WEAK:
            compare_plan.weak_config(DATA[name], method, 100, gpu)
