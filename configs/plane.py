"""Points in the plane, and other vectors of few dimensions: as the heart, with a perceptron that sees finer detail.

python main.py --mode train --config configs/plane.py --workdir runs/moons --config.data.dataset=two_moons
python main.py --mode eval  --config configs/plane.py --workdir runs/moons --config.data.dataset=two_moons
"""

from pfgm_jax.config_files import load_experiment


def get_config():
    config = load_experiment("heart")
    config.data.dataset = "eight_gaussians"
    config.model.octaves = 3
    return config
