"""CIFAR-10 by NCSNv2, a weaker network that is not shown z, on which the paper shows how robust PFGM is.

    python main.py --mode train  --config configs/cifar10_ncsnv2.py
    python main.py --mode sample --config configs/cifar10_ncsnv2.py

Published: no numbers to compare with, and the release cannot build the network. Its own sizes are those of Song & Ermon
(2020) for CIFAR-10; the training is that of configs/cifar10.py.
Run here: the network's answers compared with the release's layers (tests/test_ncsnv2.py); no full training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.model.name = "ncsnv2"
    config.model.nonlinearity = "elu"
    return config
