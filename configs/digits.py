"""scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 grey levels; trains in minutes on a laptop CPU.

python main.py --mode train  --config configs/digits.py
python main.py --mode sample --config configs/digits.py
"""

from pfgm_jax import defaults


def get_config():
    config = defaults.get_config()
    config.data.dataset = "digits"
    config.data.random_flip = False
    config.data.uniform_dequantization = True

    config.training.n_iters = 10_000
    config.training.batch_size = 1000
    config.training.small_batch_size = 64
    config.training.log_freq = 50
    config.training.eval_freq = 1000
    config.training.snapshot_freq = 5000
    config.training.snapshot_freq_for_preemption = 1000

    config.eval.features = "pixels"
    config.eval.num_samples = 5000
    config.sampling.batch_size = 1000
    config.eval.enable_bpd = True

    config.model.nf = 32
    config.model.ch_mult = (1, 2)
    config.model.num_res_blocks = 2
    config.model.attn_resolutions = (4,)
    config.model.dropout = 0.0

    config.optim.lr = 1e-3
    config.optim.warmup = 100
    return config
