"""CIFAR-10 by flow matching on straight paths (Lipman et al. 2023), with the network of configs/cifar10.py.

    python main.py --mode train  --config configs/flow.py
    python main.py --mode sample --config configs/flow.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.training.sde = "flow"
    config.training.batch_size = config.training.small_batch_size = 128
    return config
