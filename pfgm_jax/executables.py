"""Compiled functions in files, so that a start does not trace anew what the start before has traced.

JAX keeps what XLA compiles, but must trace and lower a function before it knows that it has it, which on two cores
takes longer than loading the executable. Here an executable is found by all that it is made from: the config, the files
of all loaded modules, the options of JAX and XLA, the devices and the processor. If any of these has changed, the
function is traced; if what comes out is the same as before, it is not compiled.

Only the command line keeps executables: in a notebook, functions may be replaced that no file tells of. It keeps those
of CPUs alone, where a start is a large part of a run, and where stored executables are known to run.
"""

import contextlib
import hashlib
import logging
import os
import pickle
import platform
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

log = logging.getLogger("pfgm_jax")

MOST = 32  # files, of which the oldest go
_OPTIONS = re.compile("JAX_|XLA_|OMP_|TF_")

_run_files: tuple[Path, ...] | None = None


def keep(*files: Path) -> None:
    """Keeps the executables of CPUs from now on, in the folder where JAX keeps compilations, unless it keeps none.

    Args:
      files: Python files that have run besides those of modules.
    """
    global _run_files
    _run_files = files


class Kept:
    """A function compiled by `jax.jit`, whose executable is kept if the process keeps executables.

    It begins to load in the background when this object is created. Arguments must have the same shapes and shardings
    at every call.

    Args:
      function: from `jax.jit`.
      name: of the function; functions of a name have the same options of `jax.jit`.
      config: all that the function depends on besides its code and arguments.
    """

    def __init__(self, function: Any, name: str, config: Any):
        self._function, self._name, self._call = function, name, None
        self._file = _file_of_code(name, config)
        self._loading = ThreadPoolExecutor(1).submit(_load, self._file) if self._file else None

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        if self._call is None:
            self._call = self._find(arguments)
        return self._call(*arguments)

    def _find(self, arguments: tuple[Any, ...]) -> Callable:
        if self._file is None or self._loading is None:
            return self._function
        described = _describe(arguments)
        described_then, executable = self._loading.result()
        if executable is not None and described_then == described:
            return executable
        lowered = self._function.lower(*arguments)
        same = self._file.with_name(_digest(self._name, described, lowered.as_text(), _options(), _devices()))
        _, executable = _load(same)
        if executable is None:
            with _unkept_by_jax():
                executable = lowered.compile()
            _write(same, lambda: (described, serialize_executable.serialize(executable)))
        with contextlib.suppress(OSError):
            _write_bytes(self._file, same.read_bytes())
        return executable


def kept_value(make: Callable[[], Any], name: str, config: Any) -> Any:
    """Returns what `make` returns, from a file if it was made before and the process keeps executables.

    Args:
      make: returns what pickle can store.
      name, config: see `Kept`.
    """
    file = _file_of_code(name, config)
    if file is None:
        return make()
    kept = _read(file)
    if kept is None:
        kept = make()
        _write(file, lambda: kept)
    return kept


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


def _load(file: Path) -> tuple[str, Callable | None]:
    """Loads the description of an executable's arguments and the executable, or None if none can be used."""
    kept = _read(file)
    if kept is None:
        return "", None
    try:
        return kept[0], serialize_executable.deserialize_and_load(*kept[1])
    except Exception as error:  # of any library, over a file that another version has written or a disk has damaged
        log.debug("%s cannot be loaded: %s", file, error)
        return "", None


def _read(file: Path) -> Any:
    try:
        kept = pickle.loads(zlib.decompress(file.read_bytes()))
        os.utime(file)
    except FileNotFoundError:
        return None
    except Exception as error:  # see `_load`
        log.debug("%s cannot be read: %s", file, error)
        return None
    return kept


def _write(file: Path, make: Callable[[], Any]) -> None:
    """Writes what `make` returns; without it the next start takes longer, which stops nothing."""
    try:
        _write_bytes(file, zlib.compress(pickle.dumps(make()), 1))
    except Exception as error:  # backends that cannot store an executable have errors of their own
        log.debug("%s cannot be written: %s", file, error)


def _write_bytes(file: Path, content: bytes) -> None:
    """Writes a file, whole or not at all, and removes the oldest ones beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as written:
        written.write(content)
    Path(written.name).replace(file)
    for old in sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-MOST]:
        old.unlink(missing_ok=True)


def _describe(arguments: tuple[Any, ...]) -> str:
    leaves, structure = jax.tree.flatten(arguments)
    return f"{structure} {[(jax.typeof(leaf), getattr(leaf, 'sharding', None)) for leaf in leaves]}"


def _file_of_code(name: str, config: Any) -> Path | None:
    """Returns the file of a function by what it is made from, or None if the process keeps no executables."""
    options = jax.config.values
    folder = options["jax_compilation_cache_dir"] if options["jax_enable_compilation_cache"] else None
    of_files = _run_files is not None and hasattr(sys.modules["__main__"], "__file__")  # rather than of `python -c`
    if not of_files or not folder or "://" in folder:
        return None
    if jax.process_count() > 1 or jax.default_backend() != "cpu":
        return None
    return Path(folder, "executables", _digest(name, str(config), _code(), _options(), _devices()))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _code() -> str:
    """Says which files the loaded modules and this package are made of, and when these files were changed."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files |= {str(path) for path in (*Path(__file__).parent.rglob("*.py"), *(_run_files or ()))}
    lines = []
    for file in sorted(filter(None, files)):
        with contextlib.suppress(OSError):
            status = Path(file).stat()
            lines.append(f"{file} {status.st_mtime_ns} {status.st_size}")
    return "\n".join(lines)


def _options() -> str:
    variables = {name: value for name, value in os.environ.items() if _OPTIONS.match(name)}
    return f"{sorted(variables.items())} {sorted(jax.config.values.items())}"


def _devices() -> str:
    devices = jax.devices()
    kinds = [(device.id, device.platform, device.device_kind) for device in devices]
    return f"{kinds} {devices[0].client.platform_version} {_instructions()}"


def _instructions() -> str:
    """Says what instructions the processor has, which XLA compiles for."""
    try:
        found = re.search("^(flags|Features).*$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:  # there is no such file
        found = None
    return found[0] if found else platform.machine()
