"""Faces of 64 x 64 pixels by PFGM++ with 128 additional dimensions: DDPM++ with EDM's settings (Xu et al. 2023).

    python main.py --mode train  --config configs/ffhq64.py --config.data.dataset=folder:PATH
    python main.py --mode sample --config configs/ffhq64.py

PATH holds the pictures of FFHQ (https://github.com/NVlabs/ffhq-dataset), of any size: they are resized. Published: FID
2.43 with 79 evaluations.
Run here: its fields and the network's shapes are checked (tests/test_pfgmpp_runs.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10_pfgmpp")
    config.data.dataset = "folder:ffhq"
    config.data.image_size = 64
    config.pfgmpp.D = 128.0
    config.training.batch_size = config.training.small_batch_size = 256
    config.training.n_iters = 781_250
    config.data.random_flip = True
    config.data.augmentation = 0.15

    config.model.ch_mult = (1, 2, 2, 2)
    config.model.dropout = 0.05
    config.model.ema_rate = 0.99965

    config.optim.lr = 2e-4
    config.optim.warmup = 39_063

    config.sampling.N = 39
    return config
