"""CIFAR-10 by EDM (Karras et al. 2022): configs/cifar10_pfgmpp.py with D = ∞, by which the paper measures PFGM++.

    python main.py --mode train  --config configs/cifar10_edm.py
    python main.py --mode sample --config configs/cifar10_edm.py

Published (Karras et al. 2022): FID 1.97 with 35 evaluations. With --config.pfgmpp.D=128 or another it goes on, or
samples, as PFGM++.
Run here: its fields and the network's shapes are checked (tests/test_pfgmpp_runs.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10_pfgmpp")
    config.pfgmpp.D = float("inf")
    return config
