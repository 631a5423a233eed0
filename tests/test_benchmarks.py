"""The benchmark of sampling runs, and its table has the evaluations that each solver makes."""

import re

import pytest

from tests.test_startup import python


@pytest.mark.slow
def test_the_table_of_sampling_has_each_solvers_evaluations():
    steps = 3
    arguments = ["--config", "plane", "--batch", "2", "--steps", str(steps), "--rounds", "1"]
    table = python("-m", "benchmarks.sampling", *arguments).stdout
    found = {name: float(most) for name, most in re.findall(r"^(\w+) +[\d.]+ +(\d+) +[\d.]+ ", table, re.M)}
    # Euler's method and multistep ones need one evaluation a step; Heun's two, and the improved one none at the end.
    fixed = {"euler": steps, "dpmpp_2m": steps, "dpmpp_3m": steps, "heun": 2 * steps, "improved_euler": 2 * steps - 1}
    assert {name: most for name, most in found.items() if name in fixed} == fixed
    assert found["rk45"] > 6 and found["tsit5"] > 6
    assert re.search(r"^likelihood by rk45 +[\d.]+ +\d+ ", table, re.M)
