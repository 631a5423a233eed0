"""The digits of configs/digits.py by a multilayer perceptron and the exact field of all of them.

For images this small a perceptron takes a batch four times as large in less time than the U-Net its own.

    python main.py --mode train  --config configs/digits_mlp.py
    python main.py --mode sample --config configs/digits_mlp.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits")
    config.training.n_iters = 4000
    config.training.small_batch_size = 256
    config.training.field_reference = "dataset"

    config.model.name = "mlp"
    config.model.nf = 512
    config.model.num_res_blocks = 4
    return config
