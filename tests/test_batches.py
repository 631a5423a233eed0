"""How many examples a step draws and perturbs, by the number of devices."""

import pytest

from pfgm_jax import build
from pfgm_jax import config as config_lib
from pfgm_jax.errors import InputError
from tests.test_run_lib import small_digits


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "training.small_batch_size is 12, which 8 devices cannot share evenly; choose a multiple of 8"),
        (
            {"training.small_batch_size": 24, "training.accumulate": 2},
            "which 8 devices, each with training.accumulate = 2 microbatches cannot share .* a multiple of 16",
        ),
        (
            {"training.small_batch_size": 16, "training.batch_size": 100},
            "training.batch_size is 100, which 8 devices cannot share evenly; choose a multiple of 8",
        ),
    ],
)
def test_refuses_batches_that_devices_cannot_share(overrides, message):
    batches = {"training.small_batch_size": 12, "training.batch_size": 96, "training.field_reference": "batch"}
    config = small_digits(**{**batches, **overrides})
    dataset = build.load_dataset(config)
    with pytest.raises(InputError, match=message):
        config_lib.validate_devices(config, dataset, 8)


@pytest.mark.parametrize(("each", "batches"), [(0, (96, 12)), (3, (96, 24)), (20, (160, 160))])
def test_points_of_each_device_decide_the_batch(each, batches):
    config = small_digits(**{"training.small_batch_size": 12, "training.batch_size": 96})
    config.training.points_per_device = each
    config = config_lib.with_batches(config, 8)
    assert (config.training.batch_size, config.training.small_batch_size) == batches


def test_points_of_a_device_are_shared_by_microbatches():
    config = small_digits(**{"training.points_per_device": 3, "training.accumulate": 2})
    with pytest.raises(InputError, match="training.points_per_device is 3, which training.accumulate = 2 microbatches"):
        config_lib.with_batches(config, 8)
