"""CIFAR-10 by the variance-preserving SDE and DDPM++ (Song et al. 2021), which the paper measures PFGM against.

    python main.py --mode train  --config configs/cifar10_vp.py
    python main.py --mode sample --config configs/cifar10_vp.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.training.sde = "vpsde"
    config.training.reduce_mean = True
    config.training.batch_size = config.training.small_batch_size = 128

    config.sampling.method = "pc"
    config.sampling.predictor = "euler_maruyama"
    config.sampling.corrector = "none"
    config.sampling.N = 1000
    config.sampling.rtol = config.sampling.atol = 1e-5
    return config
