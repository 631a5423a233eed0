"""The command line: python main.py --mode train|sample|eval|likelihood --config configs/digits.py [--workdir DIR]."""

from pfgm_jax.commands.main import start

if __name__ == "__main__":
    start("modes", "python main.py")
