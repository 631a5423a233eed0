"""CIFAR-10 by NCSNv2 (Song & Ermon 2020): 232 discrete levels, and annealed Langevin dynamics.

    python main.py --mode train  --config configs/ncsn.py
    python main.py --mode sample --config configs/ncsn.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10_ncsnv2")
    config.training.sde = "vesde"
    config.training.continuous = False
    config.training.batch_size = config.training.small_batch_size = 128
    config.data.centered = False

    config.model.scale_by_sigma = True
    config.model.num_scales = 232
    config.model.ema_rate = 0.999

    config.sampling.method = "annealed_langevin"
    config.sampling.N = 232
    config.sampling.n_steps_each = 5
    config.sampling.step_size = 6.2e-6

    config.optim.lr = 1e-4
    return config
