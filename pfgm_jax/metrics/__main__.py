"""python -m pfgm_jax.metrics: see commands/metrics.py."""

from pfgm_jax.commands.main import start

if __name__ == "__main__":
    start("metrics", "python -m pfgm_jax.metrics")
