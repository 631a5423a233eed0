"""The digits of configs/digits_mlp.py by the variance-preserving SDE.

python main.py --mode train  --config configs/digits_vp.py
python main.py --mode sample --config configs/digits_vp.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_mlp")
    config.training.sde = "vpsde"
    config.training.field_reference = "example"
    return config
