"""CIFAR-10 by the variance-exploding SDE and NCSN++ (Song et al. 2021), which the paper measures PFGM against.

    python main.py --mode train  --config configs/cifar10_ve.py
    python main.py --mode sample --config configs/cifar10_ve.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10")
    config.training.sde = "vesde"
    config.training.batch_size = config.training.small_batch_size = 128
    config.data.centered = False

    config.model.fir = True
    config.model.embedding_type = "fourier"
    config.model.progressive_input = "residual"
    config.model.scale_by_sigma = True
    config.model.ema_rate = 0.999

    config.sampling.method = "pc"
    config.sampling.predictor = "reverse_diffusion"
    config.sampling.corrector = "langevin"
    config.sampling.snr = 0.16
    config.sampling.N = 1000
    config.sampling.rtol = config.sampling.atol = 1e-5
    return config
