"""The command line: python main.py --mode train|sample|eval|likelihood|restore|reflow --config NAME [--workdir DIR]."""

from pfgm_jax.commands.main import start

if __name__ == "__main__":
    start("modes", "python main.py")
