"""Executables in files: which are used again, which are not, and that they compute what was compiled."""

import errno
import functools
import importlib.metadata
import json
import pickle
import sys
import time
import types
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pfgm_jax import executables
from pfgm_jax.executables import Kept, kept_value
from pfgm_jax.sharding import Devices
from pfgm_jax.training.state import create_state
from tests.test_startup import python


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A Python file that has run in a process that keeps executables."""
    file = tmp_path / "source.py"
    file.write_text("")
    before = {name: jax.config.values[name] for name in ("jax_compilation_cache_dir", "jax_default_matmul_precision")}
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    monkeypatch.setattr(executables, "_began", None)  # and that no longer does so after the test
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(file), raising=False)
    executables.keep(time.time())
    yield file
    for option in before.items():
        jax.config.update(*option)


class Counted:
    """A function of an array that counts how often it is traced."""

    def __init__(self, power=2):
        self.traced, self.power = 0, power

    def __call__(self, x):
        self.traced += 1
        return x**self.power + 1

    def kept(self, config=None, name="a function"):
        return Kept(jax.jit(self), name, config)


X = jnp.arange(3.0)


def test_an_executable_is_traced_once_and_computes_the_same(source):
    first, second = Counted(), Counted()
    kept = first.kept()
    np.testing.assert_array_equal([kept(X), kept(X + 1)], [[1, 2, 5], [2, 5, 10]])
    # Another process would have another function; by power 3 it would show if this one were called.
    second.power = 3
    np.testing.assert_array_equal(second.kept()(X), [1, 2, 5])
    assert (first.traced, second.traced) == (1, 0)


def test_nothing_is_kept_unless_the_process_says_so(source, monkeypatch):
    Counted().kept()(X)
    monkeypatch.setattr(executables, "_began", None)
    np.testing.assert_array_equal(Counted(power=3).kept()(X), [1, 2, 9])


def test_what_no_file_tells_of_is_not_kept(source, monkeypatch):
    Counted().kept()(X)
    monkeypatch.delattr(sys.modules["__main__"], "__file__")  # as in `python -c`
    np.testing.assert_array_equal(Counted(power=3).kept()(X), [1, 2, 9])


def changed_config(monkeypatch, source):
    return {"config": {"lr": 0.1}}


def changed_name(monkeypatch, source):
    return {"name": "another function"}


def changed_source(monkeypatch, source):
    source.write_text("changed = True")
    executables.keep(time.time())


def changed_module(monkeypatch, source):
    module = types.ModuleType("plugin")
    module.__file__ = str(source.with_name("plugin.py"))
    source.with_name("plugin.py").write_text("")
    executables.keep(time.time())
    monkeypatch.setitem(sys.modules, "plugin", module)


def changed_variable(monkeypatch, source):
    monkeypatch.setenv("XLA_ANYTHING", "1")


def changed_variable_of_flax(monkeypatch, source):
    monkeypatch.setenv("FLAX_FIX_RNG_SEPARATOR", "true")


def changed_version(monkeypatch, source):
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == "jaxlib" else version(name))


def changed_option(monkeypatch, source):
    jax.config.update("jax_default_matmul_precision", "highest")


def changed_processor(monkeypatch, source):
    monkeypatch.setattr(executables, "_instructions", lambda: "flags: none")


def changed_since_it_was_loaded(monkeypatch, source):
    # Nobody knows which version the process has.
    executables.keep(source.stat().st_mtime - 1)


# Of these, a program may be the same, but not what it is compiled to.
OF_COMPILATION = [changed_name, changed_variable, changed_option, changed_version, changed_processor]
OF_TRACING = [changed_since_it_was_loaded, changed_config, changed_source, changed_module, changed_variable_of_flax]


@pytest.fixture
def compiled(monkeypatch):
    """What is compiled rather than loaded."""
    compiled, compile_ = [], jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(self) or compile_(self))
    return compiled


@pytest.mark.parametrize("change", OF_COMPILATION + OF_TRACING)
def test_whatever_has_changed_a_function_is_traced_anew(source, monkeypatch, change):
    Counted().kept()(X)
    options = change(monkeypatch, source) or {}
    np.testing.assert_array_equal(Counted(power=3).kept(**options)(X), [1, 2, 9])


@pytest.mark.parametrize("change", OF_COMPILATION)
def test_the_same_program_is_compiled_anew_for_another_compiler(source, monkeypatch, compiled, change):
    Counted().kept()(X)
    options = change(monkeypatch, source) or {}
    np.testing.assert_array_equal(Counted().kept(**options)(X), [1, 2, 5])
    assert len(compiled) == 2


def test_modules_that_are_loaded_while_it_is_traced_count(source, monkeypatch):
    def loading(x):
        changed_module(monkeypatch, source)
        return x**2 + 1

    Kept(jax.jit(loading), "a function", None)(X)
    monkeypatch.delitem(sys.modules, "plugin")
    unchanged, changed = Counted(), Counted(power=3)
    np.testing.assert_array_equal(unchanged.kept()(X), [1, 2, 5])
    assert not unchanged.traced
    source.with_name("plugin.py").write_text("changed = True")
    executables.keep(time.time())
    np.testing.assert_array_equal(changed.kept()(X), [1, 2, 9])


@pytest.mark.parametrize("x", [jnp.arange(4.0), jnp.arange(3)], ids=["shape", "type"])
def test_other_arguments_are_traced_anew(source, x):
    Counted().kept()(X)
    np.testing.assert_array_equal(Counted(power=3).kept()(x), x**3 + 1)


def test_what_is_traced_to_the_same_is_not_compiled(source, compiled):
    Counted().kept()(X)
    source.write_text("# a comment")
    executables.keep(time.time())
    np.testing.assert_array_equal(Counted().kept()(X), [1, 2, 5])
    assert len(compiled) == 1  # before
    # The start after this one does not even trace it.
    np.testing.assert_array_equal(Counted(power=3).kept()(X), [1, 2, 5])


def test_an_executable_that_jax_has_kept_is_stored_whole(source):
    # JAX would load it from its own cache, and XLA then store it without its kernels.
    traced = []
    draws = lambda: jax.jit(lambda key: [traced.append(n) or jax.random.normal(key, (3, n)) for n in (2, 3)])
    key = jax.random.key(0)
    expected = draws()(key)
    for _ in range(2):
        for drawn, as_expected in zip(Kept(draws(), "draws", None)(key), expected, strict=True):
            np.testing.assert_array_equal(drawn, as_expected)
    assert traced == [2, 3, 2, 3]  # for JAX and for the first that is kept


@pytest.mark.parametrize("content", [b"", b"no archive", zlib.compress(pickle.dumps(("no", "executable", None)))])
def test_a_damaged_file_is_replaced(source, content):
    Counted().kept()(X)
    for file in (source.parent / "jax" / "executables").iterdir():
        file.write_bytes(content)
    for traced in (1, 0):
        function = Counted()
        np.testing.assert_array_equal(function.kept()(X), [1, 2, 5])
        assert function.traced == traced


def test_where_no_folder_can_be_nothing_is_kept(source):
    (source.parent / "jax").mkdir(exist_ok=True)
    (source.parent / "jax" / "executables").write_text("a file")
    np.testing.assert_array_equal(Counted().kept()(X), [1, 2, 5])
    np.testing.assert_array_equal(Counted(power=3).kept()(X), [1, 2, 9])


def test_a_full_disk_stops_nothing(source, monkeypatch):
    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    np.testing.assert_array_equal(Counted().kept()(X), [1, 2, 5])
    assert not list((source.parent / "jax" / "executables").iterdir())


def test_the_oldest_files_go(source, monkeypatch):
    monkeypatch.setattr(executables, "MOST", 4)
    for power in range(5):
        Counted(power).kept(config=power)(X)
    assert len(list((source.parent / "jax" / "executables").iterdir())) == 4
    youngest, oldest = Counted(9), Counted(9)
    for function, config in ((youngest, 4), (oldest, 0)):
        function.kept(config=config)(X)
    assert (youngest.traced, oldest.traced) == (0, 1)


def test_states_over_devices_are_donated_and_placed_as_before(source):
    devices = Devices.all()
    optimizer = optax.adam(0.1)
    traced = []

    def initial(key):
        traced.append(key)
        return create_state({"w": jax.random.normal(key, (8, 3))}, optimizer)

    placement = devices.spread(jax.eval_shape(initial, jax.random.key(0)))
    double = lambda state: jax.tree.map(lambda leaf: leaf + leaf, state)
    for _ in range(2):
        initial = functools.partial(initial)  # which JAX has not traced
        state = Kept(jax.jit(initial, out_shardings=placement), "initial", None)(jax.random.key(1))
        doubled = Kept(jax.jit(double, donate_argnums=0, out_shardings=placement), "double", None)(state)
        assert state.params["w"].is_deleted()
        assert doubled.params["w"].sharding == placement.params["w"]
        np.testing.assert_array_equal(doubled.params["w"], 2 * jax.random.normal(jax.random.key(1), (8, 3)))
    assert len(traced) == 2  # for the shapes, and once as it is kept


def test_a_value_is_made_once(source):
    state = lambda: create_state({"w": X}, optax.adam(0.1))
    shapes = kept_value(lambda: jax.eval_shape(state), "shapes", None)
    again = kept_value(lambda: pytest.fail("it was made before"), "shapes", None)
    assert again == shapes == jax.eval_shape(state)


RUN = ["--mode", "train", "--config", "configs/digits_mlp.py"]
FIELDS = ["--config.training.n_iters=2", "--config.training.log_freq=1"]


@pytest.mark.slow
def test_a_second_start_does_not_trace_the_step_and_trains_the_same(tmp_path):
    (tmp_path / "script.py").write_text(
        "import jax, sys\n"
        "from pfgm_jax.commands import main\n"
        "print = lambda event, _, fun_name='', **__: sys.stdout.write(f'{event} {fun_name}\\n')\n"
        "jax.monitoring.register_event_duration_secs_listener(print)\n"
        "main.start('modes', 'script')\n"
    )
    losses, traced = [], []
    for run, enabled in (("a", "true"), ("b", "true"), ("c", "false")):
        environment = {
            "PYTHONPATH": ".",
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax"),
            "JAX_ENABLE_COMPILATION_CACHE": enabled,
        }
        done = python(str(tmp_path / "script.py"), *RUN, *FIELDS, "--workdir", str(tmp_path / run), **environment)
        traced.append("jaxpr_trace_duration train_step" in done.stdout)
        lines = (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line).get("loss") for line in lines])
    assert traced == [True, False, True]
    assert losses[0] == losses[1] == losses[2] and len(losses[0]) >= 2
