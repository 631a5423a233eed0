"""The digits of configs/digits_mlp.py by the variance-exploding SDE.

python main.py --mode train  --config configs/digits_ve.py
python main.py --mode sample --config configs/digits_ve.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_mlp")
    config.training.sde = "vesde"
    config.training.field_reference = "example"
    # A perceptron does not divide by the noise level, as networks of scores do.
    config.training.prediction = "noise"
    return config
