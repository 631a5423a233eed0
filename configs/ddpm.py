"""CIFAR-10 by DDPM (Ho et al. 2020): 1,000 discrete levels, and the ancestral sampler.

    python main.py --mode train  --config configs/ddpm.py
    python main.py --mode sample --config configs/ddpm.py

Run here: its fields and the network's shapes are checked (tests/test_score_models.py); no training.
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("cifar10_vp")
    config.training.continuous = False

    config.model.resblock_type = "ddpm"
    config.model.num_res_blocks = 2
    config.model.skip_rescale = False

    config.sampling.method = "ddpm"
    return config
