"""CIFAR-10 by DDPM++: the paper's main model.

    python main.py --mode train  --config configs/cifar10.py
    python main.py --mode sample --config configs/cifar10.py

Published (Xu et al. 2022): FID 2.48 and Inception score 9.65 with 104 evaluations of RK45; 3.19 bits/dim.
Run here: the network's parameters compared one by one with the release's (tests/test_convert.py); no full training.
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "cifar10"
    config.data.image_size = 32
    config.data.num_channels = 3
    config.data.levels = 256

    config.training.M = 291.0
    config.sampling.z_max = 40.0
    config.sampling.upper_norm = 3000.0
    return config
