"""A heart in the plane, learned by a multilayer perceptron in a minute on a laptop CPU.

python main.py --mode train  --config configs/heart.py
python main.py --mode sample --config configs/heart.py
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "heart"
    config.data.random_flip = False

    config.training.n_iters = 3000
    config.training.batch_size = 1024
    config.training.small_batch_size = 512
    config.training.log_freq = 100
    config.training.eval_freq = 1000
    config.training.snapshot_freq = 3000
    config.training.snapshot_freq_for_preemption = 1000
    # The paper's 5 suits thousands of dimensions, where the field is long; here it would drown the field near the data.
    config.training.gamma = 0.2
    # In the plane the field of a heart becomes that of a point only far away: the formula for M, made for thousands of
    # dimensions, stops too near.
    config.training.M = 300.0
    config.sampling.z_max = 40.0
    config.sampling.upper_norm = 1e4
    config.sampling.drift_epsilon = 0.0  # in the plane v_z is so small near the data that the authors' 1e-5 would show
    config.sampling.num_samples = 2000
    config.sampling.batch_size = 2000

    config.model.name = "mlp"
    config.model.nf = 128
    config.model.num_res_blocks = 3
    config.model.ema_rate = 0.999

    config.optim.lr = 1e-3
    config.optim.warmup = 100
    return config
