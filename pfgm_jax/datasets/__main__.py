"""python -m pfgm_jax.datasets: see commands/datasets.py."""

from pfgm_jax.commands import datasets

if __name__ == "__main__":
    datasets.main("python -m pfgm_jax.datasets")
