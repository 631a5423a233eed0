"""python -m pfgm_jax: the command `pfgm-jax`."""

from pfgm_jax.commands.main import main

if __name__ == "__main__":
    main()
