"""Compiled functions in files, so that a start does not trace anew what the start before has traced.

JAX keeps what XLA compiles, but must trace and lower a function before it knows that it has it, which on two cores
takes longer than loading the executable. Here an executable is found by all that it is made from: the config, the files
of all modules that are loaded before or while it is traced, the options of JAX and XLA, the devices and the processor.
If any of these has changed, the function is traced; if what comes out is the same as before, it is not compiled.

Only the command line keeps executables: in a notebook, functions may be replaced that no file tells of. It keeps those
of CPUs alone, where a start is a large part of a run, and where stored executables are known to run.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import pickle
import platform
import re
import sys
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

log = logging.getLogger("pfgm_jax")

Code = frozenset[tuple[str, int, int]]  # files, when they were changed in nanoseconds, their sizes

MOST = 256  # files, of which the oldest go
_PACKAGE = Path(__file__).parent
_OPTIONS = re.compile("JAX_|XLA_|OMP_|TF_|FLAX_")

_began: float | None = None


def keep(began: float) -> None:
    """Keeps the executables of CPUs from now on, in the folder where JAX keeps compilations, unless it keeps none.

    Args:
      began: when the process began to load modules, in seconds of `time.time`. If a file is younger, nobody knows which
        version of it was loaded, and nothing is kept.
    """
    global _began
    _began = began


class _Traced(NamedTuple):
    """What a trace gave."""

    loaded: Code  # during the trace
    result: Any


class Kept:
    """A function compiled by `jax.jit` for all devices, whose executable is kept if the process keeps executables.

    It begins to load in the background when this object is created. Arguments must have the same shapes and shardings
    at every call.

    Args:
      function: from `jax.jit`.
      name: of the function; functions of a name have the same options of `jax.jit`.
      config: all that the function depends on besides its code and arguments.
    """

    def __init__(self, function: Any, name: str, config: Any):
        self._function, self._name, self._call = function, name, None
        self._file, self._code = _file_and_code(name, config)
        self._loading = self._file and ThreadPoolExecutor(1).submit(_load_traced, self._file)

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        if self._call is None:
            self._call = self._find(arguments)
        return self._call(*arguments)

    def _find(self, arguments: tuple[Any, ...]) -> Callable:
        if self._loading is None or self._file is None:
            return self._function
        described, found = _describe(arguments), self._loading.result()
        if found is not None and found[0] == described:
            return found[1]
        lowered = self._function.lower(*arguments)
        compiled = self._file.with_name(_digest(self._name, described, lowered.as_text(), _options(), _devices()))
        executable = _load(compiled)
        if executable is None:
            with _unkept_by_jax():
                executable = lowered.compile()
            _write(compiled, lambda: serialize_executable.serialize(executable))
        _write(self._file, lambda: _Traced(_code() - self._code, (described, compiled.name)))
        return executable


def kept_value(make: Callable[[], Any], name: str, config: Any) -> Any:
    """Returns what `make` returns, from a file if it was made before and the process keeps executables.

    Args:
      make: returns what pickle can store.
      name, config: see `Kept`.
    """
    file, code = _file_and_code(name, config)
    if file is None:
        return make()
    traced = _read_traced(file)
    if traced is None:
        result = make()
        traced = _Traced(_code() - code, result)
        _write(file, lambda: traced)
    return traced.result


@contextlib.contextmanager
def _unkept_by_jax() -> Iterator[None]:
    """Has JAX compile rather than load what it keeps.

    XLA (jaxlib 0.10.2) stores an executable that was itself loaded without its kernels, and notices when it is called.
    """
    enabled = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


def _load_traced(file: Path) -> tuple[str, Callable] | None:
    """Loads the description of a function's arguments and its executable, or None if there are none to be used."""
    traced = _read_traced(file)
    if traced is None:
        return None
    described, compiled = traced.result
    executable = _load(file.with_name(compiled))
    return executable and (described, executable)


def _load(file: Path) -> Callable | None:
    stored = _read(file)
    try:
        return stored and serialize_executable.deserialize_and_load(*stored)
    except Exception as error:  # of any library, over a file that a disk has damaged
        log.debug("%s cannot be loaded: %s", file, error)
        return None


def _read_traced(file: Path) -> _Traced | None:
    traced = _read(file)
    fits = isinstance(traced, _Traced) and traced.loaded == _code_in(name for name, *_ in traced.loaded)
    return traced if fits else None


def _read(file: Path) -> Any:
    try:
        content = pickle.loads(zlib.decompress(file.read_bytes()))
    except FileNotFoundError:
        return None
    except Exception as error:  # see `_load`
        log.debug("%s cannot be read: %s", file, error)
        return None
    with contextlib.suppress(OSError):
        os.utime(file)
    return content


def _write(file: Path, make: Callable[[], Any]) -> None:
    """Writes what `make` returns, whole or not at all, and removes the oldest files beside it.

    Without it the next start takes longer, which stops nothing.
    """
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}")  # several processes may write it at once
    try:
        part.write_bytes(zlib.compress(pickle.dumps(make()), 1))
        part.replace(file)
        for old in sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST]:
            old.unlink(missing_ok=True)
    except Exception as error:  # backends that cannot store an executable have errors of their own
        log.debug("%s cannot be written: %s", file, error)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _describe(arguments: tuple[Any, ...]) -> str:
    leaves, structure = jax.tree.flatten(arguments)
    return f"{structure} {[(jax.typeof(leaf), getattr(leaf, 'sharding', None)) for leaf in leaves]}"


def _file_and_code(name: str, config: Any) -> tuple[Path | None, Code]:
    """Returns the file of a function by what it is made from, or None if none is kept, and the code that is loaded."""
    folder = _folder()
    if folder is None or _began is None:
        return None, frozenset()
    code = _code()
    if max(changed for _, changed, _ in code) > 1e9 * _began:
        return None, code
    return folder / _digest(name, str(config), str(sorted(code)), _options(), _devices()), code


def _folder() -> Path | None:
    options = jax.config.values
    kept = options["jax_compilation_cache_dir"] if options["jax_enable_compilation_cache"] else None
    of_files = _began is not None and hasattr(sys.modules["__main__"], "__file__")  # rather than of `python -c`
    if not of_files or not kept or "://" in kept or jax.process_count() > 1 or jax.default_backend() != "cpu":
        return None
    folder = Path(kept, "executables")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) and folder.is_dir() else None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _code() -> Code:
    """Returns the files of the loaded modules and of this package."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return _code_in({file for file in files if isinstance(file, str)} | {str(file) for file in _PACKAGE.rglob("*.py")})


def _code_in(files: Iterable[str]) -> Code:
    found = set()
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # some modules name files that are none
            status = Path(file).stat()
            found.add((file, status.st_mtime_ns, status.st_size))
    return frozenset(found)


def _options() -> str:
    variables = {name: value for name, value in os.environ.items() if _OPTIONS.match(name)}
    return f"{sorted(variables.items())} {sorted(jax.config.values.items())}"


def _devices() -> str:
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    kinds = [(device.id, device.platform, device.device_kind) for device in jax.devices()]
    return f"{kinds} {versions} {_instructions()}"


def _instructions() -> str:
    """Says what instructions the processor has, which XLA compiles for."""
    try:
        found = re.search("^(flags|Features).*$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:  # there is no such file
        found = None
    return found[0] if found else platform.machine()
