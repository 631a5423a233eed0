"""A trained model as a library: samples, latents, likelihoods.

    import pfgm_jax

    model = pfgm_jax.load("runs/digits")
    images = model.sample(64, seed=0)
    latents = model.encode(images)
    bits = model.bits_per_dim(images)

The pure functions underneath, to be built on, are `sampling`, `latents`, `likelihood` and `methods`.
"""

import contextlib
import dataclasses
import functools
import importlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree

from pfgm_jax import build, folders, latents, likelihood, models, ode, sampling
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder
from pfgm_jax.sharding import Devices
from pfgm_jax.state import Keys


class Pretrained:
    """A trained model.

    Images are uint8 [n, H, W, C] with grey levels 0 .. levels - 1, vectors are float32 [n, 1, 1, N] in their own units,
    both as `data.dataset` has them. Work is done `sampling.batch_size` rows at a time, on all devices.

    Attributes:
      config: of the run.
      params: averaged parameters.
      step: of the checkpoint.
      method, scaling, solver: what the config says.
    """

    def __init__(self, config: ml_collections.ConfigDict, params: PyTree, step: int):
        self.config, self.params, self.step = config, params, step
        self.method, self.scaling = build.create_method(config), build.create_scaling(config)
        self.solver = build.create_solver(config)
        self._model, self._devices = models.create_model(config), Devices.all()
        # Compiled functions, by the number of samples and of draws.
        self._samplers: dict[int, Callable] = {}
        self._likelihoods: dict[int, Callable] = {}

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """What decides the numbers that the model gives: its parameters, and what the config says of using them."""
        weights = 0
        for leaf in jax.tree.leaves(jax.device_get(self.params)):
            weights = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), weights)
        values = config_lib.to_dict(self.config)
        sampling = {k: v for k, v in values["sampling"].items() if k not in ("num_samples", "checkpoint")}
        of_config = {"data": values["data"] | {"dir": ""}, "sampling": sampling, "dtype": self.config.model.dtype}
        return {"step": self.step, "weights": weights, "seed": self.config.seed, **of_config}

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        return build.image_shape(self.config)

    # What users call

    def sample(self, n: int, seed: int = 0) -> Num[np.ndarray, "n H W C"]:
        """Draws n samples; sample k depends on the seed and on k alone, up to rounding.

        Raises:
          SolveError: the ODE could not be solved.
        """
        size = self._batch_size(n)
        x = [batch.check(i * size).x for i, batch in enumerate(self.draw(n, seed))]
        return np.asarray(self.scaling.decode(np.concatenate(x)))

    def encode(self, images: Num[np.ndarray | Array, "n H W C"]) -> Float[np.ndarray, "n H W C"]:
        """The latents of images: where the ODE carries them on the plane of the prior.

        Raises:
          InputError: they are not images of the model.
          SolveError: the ODE could not be solved.
        """
        x = np.asarray(self.scaling.encode(self.check(images)))
        return self._solve(self._encode, x)

    def decode(self, z: Num[np.ndarray | Array, "..."]) -> Num[np.ndarray, "n H W C"]:
        """The images of latents z [n, H, W, C].

        Raises:
          InputError: they are not latents of the model.
          SolveError: the ODE could not be solved.
        """
        z = np.asarray(z, np.float32)
        if z.shape[1:] != self.shape or not np.isfinite(z).all():
            shown = ", ".join(map(str, self.shape))
            raise InputError(f"the latents have shape {z.shape}; the model takes finite numbers [n, {shown}]")
        return np.asarray(self.scaling.decode(self._solve(self._decode, z)))

    def interpolate(
        self, start: Num[np.ndarray | Array, "n H W C"], end: Num[np.ndarray | Array, "n H W C"], steps: int = 8
    ) -> Num[np.ndarray, "steps n H W C"]:
        """Images between images: their latents' directions along the great circle, norms geometrically.

        Raises:
          InputError: they are not images of the model, or not as many.
          SolveError: the ODE could not be solved.
        """
        a, b = self.encode(start), self.encode(end)
        if a.shape != b.shape or steps < 2:
            raise InputError(
                f"{len(a)} and {len(b)} images in {steps} steps; give as many of both, and at least 2 steps"
            )
        path = np.asarray(latents.interpolate(jnp.asarray(a), jnp.asarray(b), jnp.linspace(0.0, 1.0, steps)))
        return self.decode(path.reshape(-1, *self.shape)).reshape(path.shape)

    def bits_per_dim(
        self, images: Num[np.ndarray | Array, "n H W C"], seed: int = 0, draws: int = 1
    ) -> Float[np.ndarray, " n"]:
        """Bits per dimension of images, uniformly dequantized; of vectors, of their density in their own units.

        By the model's solver if that chooses its steps, otherwise by RK45 with the config's tolerances.

        Args:
          images: image k has the draws of number k.
          seed: of the noise within grey levels and of the probes of the divergence.
          draws: averaged.

        Raises:
          InputError: they are not images of the model.
          SolveError: the ODE could not be solved.
        """
        images = self.check(images)
        index = np.arange(len(images), dtype=np.int32)
        pieces = self.bits(images, index, seed, draws)
        return np.concatenate([piece.check(first).mean for first, piece in pieces])

    def log_prob(
        self, images: Num[np.ndarray | Array, "n H W C"], seed: int = 0, draws: int = 1
    ) -> Float[np.ndarray, " n"]:
        """Log density in nats, in units of grey levels or of the vectors themselves; see `bits_per_dim`."""
        return -self.bits_per_dim(images, seed, draws) * (np.prod(self.shape) * np.log(2.0))

    # What evaluation is built on

    def draw(self, n: int, seed: int, first: int = 0) -> Iterator[ode.Solution]:
        """Samples number `first` to `first + n` in network units, in batches; not checked."""
        size = self._batch_size(n)
        key = Keys.of(seed, self._devices.whole).samples
        for start in range(first, first + n, size):
            batch = self._sample(size)(self.params, key, np.int32(start))
            keep = min(size, first + n - start)
            yield ode.Solution(*(np.asarray(part)[:keep] for part in batch))

    def bits(
        self, stored: Num[np.ndarray, "n H W C"], index: Int[np.ndarray, " n"], seed: int, draws: int
    ) -> Iterator[tuple[int, likelihood.BitsPerDim]]:
        """Bits per dimension in batches of `eval.batch_size`, each with the number of its first image; not checked."""
        size = self._devices.round_up(min(self.config.eval.batch_size, len(stored)))
        key = Keys.of(seed, self._devices.whole).likelihood
        for first in range(0, len(stored), size):
            part, rows = _padded(stored[first : first + size], size), _padded(index[first : first + size], size)
            keep = min(size, len(stored) - first)
            found = self._bits(draws)(self.params, key, part, rows)
            yield first, likelihood.BitsPerDim(*(np.asarray(a)[:keep] for a in found))

    def check(self, images: Any) -> Num[np.ndarray, "n H W C"]:
        """The images as an array.

        Raises:
          InputError: they are not images of the model.
        """
        images, levels = np.asarray(images), self.scaling.levels
        shown = ", ".join(map(str, self.shape))
        if images.ndim != 4 or images.shape[1:] != self.shape or not len(images):
            raise InputError(f"the images have shape {images.shape}; the model takes [n, {shown}]")
        if levels and images.dtype != np.uint8:
            raise InputError(f"the images are {images.dtype}; give uint8 with grey levels 0 to {levels - 1}")
        if levels and images.max() >= levels:
            raise InputError(f"an image has grey level {images.max()}; the model knows 0 to {levels - 1}")
        if not levels and not np.isfinite(images).all():
            raise InputError("some vectors are not finite; leave them out")
        return images if levels else images.astype(np.float32)

    def network(self, params: PyTree) -> Callable:
        """The network with parameters, as methods take it."""
        return lambda x, cond: jnp.asarray(self._model.apply({"params": params}, x, cond))

    def _batch_size(self, n: int) -> int:
        return self._devices.round_up(min(self.config.sampling.batch_size, n))

    def _solve(self, solve: Callable, x: Float[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n H W C"]:
        size = self._batch_size(len(x))
        ends = []
        for first in range(0, len(x), size):
            solution = solve(self.params, _padded(x[first : first + size], size))
            keep = min(size, len(x) - first)
            ends.append(ode.Solution(*(np.asarray(part)[:keep] for part in solution)).check(first).x)
        return np.concatenate(ends)

    def _compiled(self, function: Callable) -> Callable:
        return jax.jit(function, out_shardings=self._devices.whole)

    def _sample(self, n: int) -> Callable:
        def sample(params, key, first):
            x = self._devices.split(self.method.prior_sample(key, n, first))
            return sampling.integrate(self.method, self.network(params), x, self.solver)

        return self._samplers.setdefault(n, self._compiled(sample))

    @functools.cached_property
    def _encode(self) -> Callable:
        def encode(params, x):
            return latents.encode(self.method, self.network(params), self._devices.split(x), self.solver)

        return self._compiled(encode)

    @functools.cached_property
    def _decode(self) -> Callable:
        def decode(params, z):
            return latents.decode(self.method, self.network(params), self._devices.split(z), self.solver)

        return self._compiled(decode)

    def _bits(self, draws: int) -> Callable:
        # The release's epsilon would make the field one that has no potential, and so the density a little wrong.
        method: Any = self.method
        exact = dataclasses.replace(method, drift_epsilon=0.0) if hasattr(method, "drift_epsilon") else method
        divergence = likelihood.Divergence(self.config.eval.divergence)
        # The steps of the others suit trajectories that are straight in z, and densities are nothing like it.
        solver = self.solver
        if solver.name not in ode.ADAPTIVE:
            solver = dataclasses.replace(solver, name="rk45", levels=())

        def bits(params, key, stored, index):
            net, stored = self.network(params), self._devices.split(stored)
            return likelihood.bits_per_dim(exact, net, key, stored, index, self.scaling, solver, divergence, draws)

        return self._likelihoods.setdefault(draws, self._compiled(bits))


def load(workdir: str | Folder, step: int | None = None, **overrides: Any) -> Pretrained:
    """The model of a run, with averaged parameters.

    Args:
      workdir: of the run; gs:// works too.
      step: of a checkpoint; None for the newest that is good.
      **overrides: fields of the config, as `load("runs/digits", **{"sampling.ode_solver": "euler"})`.

    Raises:
      InputError: there is no run, no such checkpoint, or a field is out of range or of another model.
    """
    folder = folders.to_folder(workdir) if isinstance(workdir, str) else workdir
    defaults = None
    with contextlib.suppress(ImportError):  # configs/ is beside the package, not in it
        defaults = importlib.import_module("configs.default").get_config()
    config = config_lib.read(folder, defaults).lock()  # fields cannot be added
    saved = config.copy_and_resolve_references()
    try:
        config.update_from_flattened_dict(overrides)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"an override does not fit the config ({error}); configs/default.py lists all fields"
        ) from None
    config_lib.validate(config)
    config_lib.check_same_model(config, saved)
    return Pretrained(config, *load_params(folder, step))


def load_params(workdir: Folder, step: int | None = None) -> tuple[PyTree, int]:
    """The averaged parameters of a checkpoint of a run, and its step.

    Raises:
      InputError: there is no such checkpoint.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise InputError(
            f"--workdir is {workdir}, which holds no checkpoints; train first: python main.py --mode train"
        )
    with Checkpoints(directory, read_only=True) as checkpoints:
        return checkpoints.restore_ema(step)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)], mode="edge")
