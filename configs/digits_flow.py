"""The digits of configs/digits_mlp.py by flow matching.

python main.py --mode train  --config configs/digits_flow.py
python main.py --mode sample --config configs/digits_flow.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_mlp")
    config.training.sde = "flow"
    config.training.field_reference = "example"
    return config
