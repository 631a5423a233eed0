"""The digits of configs/digits_mlp.py by PFGM++ with 64 additional dimensions.

python main.py --mode train  --config configs/digits_pfgmpp.py
python main.py --mode sample --config configs/digits_pfgmpp.py
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("digits_mlp")
    config.training.sde = "pfgmpp"
    config.training.field_reference = "example"
    config.pfgmpp.D = 64.0
    return config
