"""CIFAR-10 by NCSN++: filtered resampling, Fourier features of log z, and a pyramid of the input.

    python main.py --mode train  --config configs/cifar10_ncsnpp.py
    python main.py --mode sample --config configs/cifar10_ncsnpp.py

Published: nothing for this network; the release has its config.
Run here: the network's parameters compared one by one with the release's (tests/test_convert.py); no full training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.model.fir = True
    config.model.embedding_type = "fourier"
    config.model.progressive_input = "residual"
    config.model.ema_rate = 0.999
    return config
