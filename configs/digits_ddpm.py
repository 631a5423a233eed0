"""The digits of configs/digits_vp.py by DDPM: 1,000 discrete levels, and the ancestral sampler.

python main.py --mode train  --config configs/digits_ddpm.py
python main.py --mode sample --config configs/digits_ddpm.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_vp")
    config.training.continuous = False
    config.sampling.method = "ddpm"
    config.sampling.N = 1000
    return config
