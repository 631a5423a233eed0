"""A heart in the plane, learned by a multilayer perceptron in half a minute on a laptop CPU.

python main.py --mode train --config configs/heart.py
python main.py --mode eval  --config configs/heart.py
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "heart"
    config.data.random_flip = False

    config.training.n_iters = 1500
    config.training.batch_size = 1024
    config.training.small_batch_size = 512
    config.training.log_freq = 100
    config.training.eval_freq = 500
    config.training.snapshot_freq = 1500
    config.training.snapshot_freq_for_preemption = 500
    # The paper's 5 suits thousands of dimensions, where the field is long; here it would drown the field near the data.
    config.training.gamma = 0.2
    # The paper's formula takes |E_x| for |E|, which is so in thousands of dimensions.
    config.sampling.exact_substitution = True
    # Of two dimensions more of the field's lines leave the data along the plane, and meet it only far down: at 1e-3 one
    # in a hundred has not.
    config.sampling.z_min = 1e-4
    config.sampling.drift_epsilon = 0.0  # in the plane v_z is so small near the data that the authors' 1e-5 would show
    config.sampling.num_samples = 10_000
    config.eval.num_samples = 10_000
    config.sampling.batch_size = 2000

    config.model.name = "mlp"
    config.model.nf = 128
    config.model.num_res_blocks = 3
    config.model.ema_rate = 0.995

    config.optim.lr = 4e-3
    config.optim.schedule = "cosine"
    config.optim.warmup = 100
    return config
