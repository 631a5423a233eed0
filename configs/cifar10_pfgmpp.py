"""CIFAR-10 by PFGM++ with 2,048 additional dimensions: DDPM++ with EDM's settings (Xu et al. 2023; Karras et al. 2022).

    python main.py --mode train  --config configs/cifar10_pfgmpp.py
    python main.py --mode sample --config configs/cifar10_pfgmpp.py

`--config.pfgmpp.D=128` is the paper's other choice. Published: FID 1.91 with 35 evaluations.
Run here: its fields and the network's shapes are checked (tests/test_pfgmpp_runs.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.training.sde = "pfgmpp"
    config.pfgmpp.D = 2048.0
    # 200 million images.
    config.training.batch_size = config.training.small_batch_size = 512
    config.training.n_iters = 390_625
    config.data.random_flip = False  # the augmentation flips
    config.data.augmentation = 0.12

    config.model.ch_mult = (2, 2, 2)
    config.model.embedding_type = "positional_log"
    config.model.dropout = 0.13
    config.model.ema_rate = 0.99929  # half-life of 500,000 images

    config.optim.lr = 1e-3
    config.optim.warmup = 19_531  # 10 million images
    config.optim.grad_clip = -1.0

    config.sampling.ode_solver = "heun"
    config.sampling.N = 17  # and the denoising: 35 evaluations
    return config
