"""Command lines and config files that cannot be: parsed as by main.py, in this process."""

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

from absl import flags

from pfgm_jax import config, config_files
from pfgm_jax.commands import command_line
from pfgm_jax.commands.modes import MODES
from pfgm_jax.errors import InputError
from tests.hostile.case import Case, assert_refused, assert_sentence

DIGITS = ("--config", "digits")
LONG = "9" * 400
# Overrides, and what the message names.
OVERRIDES = {
    "training.n_iters=1e300": "training.n_iters",
    "training.n_iters=1e6": "training.n_iters",
    "training.n_iters=2.5": "training.n_iters",
    "training.n_iters=ten": "training.n_iters",
    "training.n_iters=": "training.n_iters",
    "training.n_iters=0": "training.n_iters",
    f"training.n_iters={LONG}": "training.n_iters",
    f"training.n_iters={'9' * 5000}": "training.n_iters",
    "training.n_iters=99999999999999999999": "training.n_iters",
    "training.n_iters=None": "training.n_iters",
    "training.n_iters=1_000_000_000_000": "training.n_iters",
    "training.n_iters=0x10000000000": "training.n_iters",
    "training.restrict_M=maybe": "training.restrict_M",
    "training.gamma=1e-320": "training.gamma",
    "training.gamma=1,5": "training.gamma",
    "training.tau=1e9": "training.tau",
    "training.nn_iters=5": "did you mean training.n_iters",
    "training=5": "training",
    "training.": "training.",
    "training.n_iters.x=5": "training.n_iters.x",
    "nothing=5": "nothing",
    "training.n_iters[0]=5": "training.n_iters[0]",
    "optim.lr=fast": "optim.lr",
    "optim.lr=nan": "optim.lr",
    "optim.lr=-inf": "optim.lr",
    "optim.lr=1e400": "optim.lr",
    "optim.lr=1e-46": "optim.lr",
    "optim.lr=0.001.0": "optim.lr",
    "optim.lr=1/1000": "optim.lr",
    "seed=-1": "seed",
    "seed=4294967296": "seed",
    "seed=abc": "seed",
    "data.centered=no": "data.centered",
    "data.centered=2": "data.centered",
    "data.image_size=8x8": "data.image_size",
    "data.image_size=(8,)": "data.image_size",
    "data.image_size=(8,8": "data.image_size",
    "data.image_size=-8": "data.image_size",
    "data.image_size={}": "data.image_size",
    "data.shift=(1e400,)": "data.shift",
    "data.keys=3": "data.keys",
    "data.get=3": "data.get",
    "data.__class__=3": "data.__class__",
    "__class__.__name__=x": "__class__.__name__",
    "model.ch_mult=(1,x)": "model.ch_mult",
    "model.ch_mult=2.5": "model.ch_mult",
    "model.ch_mult=(": "model.ch_mult",
    f"model.ch_mult={'(' * 3000}": "model.ch_mult",
    f"model.ch_mult={'-' * 100_000}1": "--config",
    "model.ch_mult=(__import__('os').system('touch executed'),)": "model.ch_mult",
    "model.fir_kernel=(1e400,1)": "model.fir_kernel",
    "model.attn_resolutions=(16,None)": "model.attn_resolutions",
    "model.name=ncsn++": "model.name",
    "sampling.levels=(1,2)": "sampling.levels",
    "sampling.levels=abc": "sampling.levels",
    "sampling.ode_solver=rk4": "sampling.ode_solver",
    "sampling.vs=True": "sampling.vs",
    "sampling.checkpoint=newest": "sampling.checkpoint",
    "eval.checkpoints=a,b": "eval.checkpoints",
    "eval.bpd_dataset=folder:": "eval.bpd_dataset",
    "eval.bpd_dataset=arrays:": "eval.bpd_dataset",
    "eval.num_images=all": "eval.num_images",
}
# Other arguments, and what the message names.
ARGUMENTS = (
    ([], "--config"),
    (["--config"], "--config"),
    (["--config="], "--config"),
    (["--config", "configs"], "configs"),
    (["--config", "configs/none.py"], "configs/none.py"),
    (["--config", "digit"], "digit"),
    (["--config", "digits,heart"], "digits,heart"),
    (["--config", "README.md"], "README.md"),
    (["--config", "/dev/null"], "/dev/null"),
    (["--config", "tests/fixtures/perturb.npz"], "perturb.npz"),
    (["--config", "configs/digits.py:x"], "digits.py"),
    (["--config", "digits", "--mode", "trian"], "trian"),
    (["--config", "digits", "--mode="], "mode"),
    (["--config", "digits", "--mod", "train"], "mod"),
    (["--config", "digits", "--nothing"], "nothing"),
    (["--config", "digits", "train"], "train"),
    (["--config", "digits", "--workdir"], "workdir"),
    (["--config.seed=3", "--config", "digits"], "config.seed"),
    (["--config.seed=3"], "config.seed"),
    (["--config", "digits", "--config.seed"], "config.seed"),
    (["--config", "digits", "-", "x"], "'-'"),
    (["--config", "digits", "--flagfile=/nowhere"], "/nowhere"),
)
BEGIN = "from configs import digits\n\n\ndef get_config():\n    config = digits.get_config()\n"
# Config files, and what the message names besides the file.
FILES = {
    "empty": ("", "get_config"),
    "no function": ("config = 3\n", "get_config"),
    "a value in its place": ("get_config = 3\n", "get_config"),
    "needs an argument": ("def get_config(size): return size\n", "TypeError"),
    "returns None": (BEGIN, "returns nothing"),
    "returns text": ("def get_config(): return 'digits'\n", "str"),
    "returns a dictionary": ("def get_config(): return {'seed': 1}\n", "dict"),
    "returns a class": ("def get_config(): return get_config\n", "function"),
    "bad syntax": ("def get_config(:\n", "line 1"),
    "bad indentation": (BEGIN + "      config.seed = 3\n", "line 6"),
    "a NUL": ("\0", "Python"),
    "not UTF-8": (b"x = '\xff\xfe'\n", "Python"),
    "binary": (bytes(range(256)) * 9, "Python"),
    "too deep": ("x = " + "(" * 5000 + ")" * 5000, "line 1"),
    "exits": ("import sys\nsys.exit(0)\n", "line 2"),
    "exits inside": (BEGIN + "    raise SystemExit\n", "line 6"),
    "quits": (BEGIN + "    quit()\n", "line 6"),
    "raises": (BEGIN + "    raise RuntimeError('x' * 10_000)\n", "RuntimeError"),
    "divides by 0": (BEGIN + "    config.seed = 1 / 0\n", "ZeroDivisionError"),
    "asserts": (BEGIN + "    assert not config\n", "AssertionError"),
    "never returns from itself": (BEGIN + "    return get_config()\n", "RecursionError"),
    "memory": (BEGIN + "    return bytearray(2**62)\n", "MemoryError"),
    "imports what is not there": ("import nothing_like_it\n" + BEGIN, "nothing_like_it"),
    "reads what is not there": (BEGIN + "    open('/nowhere')\n", "/nowhere"),
    "an attribute of None": (BEGIN + "    config = None\n    config.seed = 3\n", "AttributeError"),
    "an attribute that is not there": (BEGIN + "    config.trainig.n_iters = 3\n", "config.trainig.n_iters = 3"),
    "a key that is not there": (BEGIN + "    config['x']['y'] = 3\n", "KeyError"),
    "converts nothing": (BEGIN + "    config.seed = int('x')\n", "ValueError"),
    "an unknown experiment": ("from pfgm_jax import config_files\nconfig_files.load_experiment('x')\n", "'x'"),
    "text for a number": (BEGIN + "    config.training.n_iters = 'ten'\n    return config\n", ""),
    "a number for text": (BEGIN + "    config.data.dataset = 3\n    return config\n", ""),
    "None for a number": (BEGIN + "    config.training.tau = None\n    return config\n", "training.tau"),
    "None for all": (BEGIN + "    for g in config:\n        config[g] = None\n    return config\n", "None"),
    "a misspelt field": (BEGIN + "    config.training.nn_iters = 3\n    return config\n", "training.n_iters"),
    "a misspelt group": (BEGIN + "    config.traning = config.training\n    return config\n", "traning"),
    "a field too high": (BEGIN + "    config.n_iters = 3\n    return config\n", "n_iters"),
    "a list of text": (BEGIN + "    config.model.ch_mult = ['1']\n    return config\n", "model.ch_mult"),
    "a generator": ("def get_config(): yield 1\n", "generator"),
    "text for a boolean": (
        BEGIN + "    with config.ignore_type():\n        config.data.centered = 'no'\n    return config\n",
        "data.centered",
    ),
    "a placeholder": (
        BEGIN + "    from ml_collections.config_dict import required_placeholder\n"
        "    config.seed = required_placeholder(int)\n    return config\n",
        "seed",
    ),
}


def refusal(arguments: list[str]) -> str:
    """What main.py would print, and leave with, before it works; raises an error if it would begin to work."""
    values, argv, told = flags.FlagValues(), ["main.py", *arguments], io.StringIO()
    flags.DEFINE_enum("mode", None, list(MODES), "", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    with (
        mock.patch.object(command_line, "FLAGS", values),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(os, "_exit", sys.exit),
        contextlib.redirect_stderr(told),
    ):
        try:
            command_line.define_config("", required=True)
            command_line._parse_flags(argv, "main.py", (), 0)
            config.validate(values.config)
        except SystemExit as end:
            assert end.code == 1
        except InputError as error:
            return f"error: {error}\n"
    return told.getvalue()


def _refused(arguments, named):
    def attempt(folder):
        told = refusal(arguments)
        assert told.startswith("error: ") and told.endswith("\n"), told
        assert_sentence(told, named)
        assert not Path("executed").exists()

    return attempt


def _refused_file(content, named):
    def attempt(folder):
        path = folder / "config.py"
        path.write_bytes(content.encode() if isinstance(content, str) else content)

        def act():
            config.validate(config_files.load_file(path))

        assert_refused(act, named)

    return attempt


def cases() -> list[Case]:
    """All of them."""
    return [
        *(
            Case(f"--config.{o}"[:60], _refused(["--config", "digits", f"--config.{o}"], n))
            for o, n in OVERRIDES.items()
        ),
        *(Case(" ".join(arguments), _refused(arguments, named)) for arguments, named in ARGUMENTS),
        *(Case(f"a config file: {name}", _refused_file(*given)) for name, given in FILES.items()),
    ]
