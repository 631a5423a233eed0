"""The digits of configs/digits_ve.py by NCSN: 100 discrete levels, and annealed Langevin dynamics.

python main.py --mode train  --config configs/digits_ncsn.py
python main.py --mode sample --config configs/digits_ncsn.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_ve")
    config.training.continuous = False
    config.model.num_scales = 100
    config.sampling.method = "annealed_langevin"
    config.sampling.N = 100
    config.sampling.n_steps_each = 5
    return config
