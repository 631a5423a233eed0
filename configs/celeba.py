"""CelebA, cropped to 140 x 140 about the centre and resized to 64 x 64, by DDPM++.

    python main.py --mode train  --config configs/celeba.py
    python main.py --mode sample --config configs/celeba.py

Published (Xu et al. 2022): FID 3.68 with 110 evaluations of RK45.
Run here: the number of the network's parameters compared with the release's (tests/test_convert.py); no training.
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "celeba"
    config.data.image_size = 64
    config.data.num_channels = 3
    config.data.levels = 256

    config.training.batch_size = 512
    config.training.eval_freq = 5000
    config.training.M = 291.0
    config.sampling.z_max = 60.0
    config.sampling.upper_norm = 6000.0
    config.sampling.z_exp = 1.0
    return config
