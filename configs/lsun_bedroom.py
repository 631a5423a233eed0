"""LSUN bedrooms of 256 x 256 pixels by DDPM++.

    python main.py --mode train  --config configs/lsun_bedroom.py
    python main.py --mode sample --config configs/lsun_bedroom.py

Published (Xu et al. 2022): FID 13.66 with 122 evaluations of RK45.
Run here: the number of the network's parameters compared with the release's (tests/test_convert.py); no training.
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "lsun_bedroom"
    config.data.image_size = 256
    config.data.num_channels = 3
    config.data.levels = 256

    config.training.n_iters = 2_400_000
    config.training.batch_size = 32
    config.training.small_batch_size = 32
    config.training.eval_freq = 5000
    config.training.snapshot_freq_for_preemption = 5000
    config.training.reduce_mean = True
    config.training.M = 356.0
    config.sampling.z_max = 100.0
    config.sampling.upper_norm = 30_000.0
    config.sampling.z_exp = 0.1
    config.sampling.batch_size = 16

    config.model.ch_mult = (1, 1, 2, 2, 4, 4)
    config.model.num_res_blocks = 2
    config.model.dropout = 0.0

    config.optim.lr = 2e-5
    return config
