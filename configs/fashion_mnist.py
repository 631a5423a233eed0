"""Fashion-MNIST, clothing in 28 x 28 grey pixels, by a DDPM++ of 7 million parameters; trains on one GPU.

    python -m pfgm_jax.datasets prepare fashion_mnist
    python main.py --mode train  --config configs/fashion_mnist.py
    python main.py --mode sample --config configs/fashion_mnist.py

Published: nothing by the authors of PFGM.
Run here: 20 steps of a smaller network (benchmarks/fashion_mnist.py); no full training.
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "fashion_mnist"
    config.data.image_size = 28
    config.data.num_channels = 1
    config.data.levels = 256
    # Shoes point to the left; mirrored ones would not be like the data.
    config.data.random_flip = False

    config.training.n_iters = 200_000
    config.training.eval_freq = 5000

    config.model.nf = 64
    config.model.ch_mult = (1, 2, 2)
    config.model.num_res_blocks = 2
    config.model.attn_resolutions = (14,)
    return config
