"""python -m pfgm_jax.datasets: see commands/datasets.py."""

from pfgm_jax.commands.main import start

if __name__ == "__main__":
    start("datasets", "python -m pfgm_jax.datasets")
