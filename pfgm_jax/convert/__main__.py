"""python -m pfgm_jax.convert: see commands/convert.py."""

from pfgm_jax.commands import convert

if __name__ == "__main__":
    convert.main("python -m pfgm_jax.convert")
