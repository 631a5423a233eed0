"""The command line: python main.py --mode train|sample|eval|likelihood --config configs/digits.py [--workdir DIR]."""

from pfgm_jax.commands import modes

if __name__ == "__main__":
    modes.main("python main.py")
