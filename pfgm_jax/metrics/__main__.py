"""python -m pfgm_jax.metrics: see commands/metrics.py."""

import sys

from pfgm_jax.commands import metrics

if __name__ == "__main__":
    sys.exit(metrics.main("python -m pfgm_jax.metrics"))
