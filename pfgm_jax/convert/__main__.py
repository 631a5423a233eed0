"""python -m pfgm_jax.convert: see commands/convert.py."""

from pfgm_jax.commands.main import start

if __name__ == "__main__":
    start("convert", "python -m pfgm_jax.convert")
