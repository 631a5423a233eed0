"""The digits of configs/digits.py by a small U-Net and the exact field of all of them; what `make demo` runs.

Trains in about two minutes on two cores, and does not learn the digits by heart.

    python main.py --mode train  --config configs/digits_small.py
    python main.py --mode sample --config configs/digits_small.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits")
    config.training.n_iters = 1400
    config.training.eval_freq = 700
    config.training.field_reference = "dataset"

    config.model.nf = 16
    config.model.num_res_blocks = 1

    config.optim.lr = 6e-3
    config.optim.schedule = "cosine"
    return config
