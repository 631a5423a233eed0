"""CIFAR-10 by the sub-VP SDE and DDPM++ (Song et al. 2021), which the paper measures PFGM against.

    python main.py --mode train  --config configs/cifar10_subvp.py
    python main.py --mode sample --config configs/cifar10_subvp.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10_vp")
    config.training.sde = "subvpsde"
    return config
