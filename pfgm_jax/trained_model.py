"""A trained model as a library: samples, latents, likelihoods.

    import pfgm_jax

    model = pfgm_jax.load("runs/digits")
    images = model.sample(64, seed=0)
    latents = model.encode(images)
    bits = model.bits_per_dim(images)

The pure functions underneath, to be built on, are `sampling`, `latents`, `likelihood` and `methods`.
"""

import functools
import os
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Int, Num, PyTree

from pfgm_jax import arguments, build, config_files, folders, latents, models
from pfgm_jax import config as config_lib
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import Folder
from pfgm_jax.generator import Generator
from pfgm_jax.likelihood import BitsPerDim
from pfgm_jax.methods.base import Network
from pfgm_jax.samplers.base import Solution


class TrainedModel:
    """A trained model.

    Images are integers [n, H, W, C] with grey levels lowest .. lowest + levels - 1, or float32 in their own units, and
    vectors are float32 [n, 1, 1, N], all as `data.dataset` has them. Work is done `sampling.batch_size` rows at a time,
    on all devices.

    Attributes:
      config: of the run.
      params: averaged parameters.
      step: of the checkpoint.
      generator: uses the parameters.
      method, scaling, sampler, solver: the generator's.
    """

    def __init__(self, config: ml_collections.ConfigDict, params: PyTree, step: int):
        self.config, self.params, self.step = config, params, step
        self.generator = Generator(config)
        self.method, self.scaling = self.generator.method, self.generator.scaling
        self.sampler, self.solver = self.generator.sampler, self.generator.solver

    @functools.cached_property
    def record(self) -> dict[str, Any]:
        """What decides the numbers that the model computes: its parameters and the options of using them."""
        weights = 0
        for leaf in jax.tree.leaves(jax.device_get(self.params)):
            weights = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), weights)
        values = config_files.to_dict(self.config)
        # What earlier versions made has no `method`; it stays valid.
        left_out = ["num_samples", "checkpoint", *(["method"] if self.config.sampling.method == "ode" else [])]
        if not self.config.sampling.shared_step:
            left_out.append("batch_size")  # of which nothing depends but rounding
        sampling = {k: v for k, v in values["sampling"].items() if k not in left_out}
        fields = [*self.method.fields.values(), *self.sampler.fields.values(), *self.solver.fields.values()]
        groups = {field.split(".")[0] for field in fields} - {"data", "training", "sampling", "model"}
        of_config = {"data": values["data"] | {"dir": ""}, "sampling": sampling, "dtype": self.config.model.dtype}
        return {
            "step": self.step,
            "weights": weights,
            "seed": self.config.seed,
            **of_config,
            **{g: values[g] for g in groups},
        }

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        return self.generator.shape

    @property
    def net(self) -> Network:
        """The network with its parameters, as methods take it."""
        return self.generator.network(self.params)

    # What users call

    def sample(
        self, n: int, seed: int = 0, context: Context = NO_CONTEXT, sampler: str | None = None
    ) -> Num[np.ndarray, "n H W C"]:
        """Draws n samples; sample k depends on the seed, on k and on its context alone, up to rounding.

        Args:
          n: how many.
          seed: with the number of a sample, decides it.
          context: what is given of each sample, in n rows.
          sampler: one of `registry.SAMPLERS`, with the config's options; None for the config's own.

        Raises:
          InputError: the context is of another number of samples.
          SolveError: the ODE could not be solved.
        """
        n, seed = arguments.to_integer("n", n, 1), arguments.to_seed(seed)
        context = arguments.to_context(context)
        if sampler is not None:
            return self._with_sampler(sampler if isinstance(sampler, str) else shown(sampler)).sample(n, seed, context)
        size = self.generator.batch_size(n)
        x = [batch.check(i * size).x for i, batch in enumerate(self.draw(n, seed, context=context))]
        return np.asarray(self.scaling.to_stored(np.concatenate(x)))

    def encode(
        self, images: Num[np.ndarray | Array, "n H W C"], context: Context = NO_CONTEXT
    ) -> Float[np.ndarray, "n H W C"]:
        """Encodes images: returns where the ODE carries them on the plane of the prior.

        Raises:
          InputError: they are not images of the model, or the context is of another number of them.
          SolveError: the ODE could not be solved.
        """
        x = np.asarray(self.scaling.to_network(self.check(images)))
        return self.generator.encode(self.params, x, arguments.to_context(context))

    def decode(self, z: Num[np.ndarray | Array, "..."], context: Context = NO_CONTEXT) -> Num[np.ndarray, "n H W C"]:
        """Decodes latents [n, H, W, C]: returns the images that the ODE leads them to.

        Raises:
          InputError: they are not latents of the model, or the context is of another number of them.
          SolveError: the ODE could not be solved.
        """
        with np.errstate(over="ignore"):
            z = arguments.to_array("the latents", z).astype(np.float32)
        if z.shape[1:] != self.shape or not z.size or not np.isfinite(z).all():
            wanted = ", ".join(map(str, self.shape))
            raise InputError(f"the latents have shape {z.shape}; the model takes finite numbers [n, {wanted}]")
        return np.asarray(self.scaling.to_stored(self.generator.decode(self.params, z, arguments.to_context(context))))

    def interpolate(
        self, start: Num[np.ndarray | Array, "n H W C"], end: Num[np.ndarray | Array, "n H W C"], steps: int = 8
    ) -> Num[np.ndarray, "steps n H W C"]:
        """Draws images between images: their latents' directions along the great circle, norms geometrically.

        Raises:
          InputError: they are not images of the model, or not as many.
          SolveError: the ODE could not be solved.
        """
        steps = arguments.to_integer("steps", steps, 2)
        start, end = self.check(start), self.check(end)
        if start.shape != end.shape:
            raise InputError(f"{len(start)} and {len(end)} images cannot be paired; give as many of both")
        a, b = self.encode(start), self.encode(end)
        path = np.asarray(latents.interpolate(jnp.asarray(a), jnp.asarray(b), jnp.linspace(0.0, 1.0, steps)))
        return self.decode(path.reshape(-1, *self.shape)).reshape(path.shape)

    def bits_per_dim(
        self,
        images: Num[np.ndarray | Array, "n H W C"],
        seed: int = 0,
        draws: int = 1,
        context: Context = NO_CONTEXT,
    ) -> Float[np.ndarray, " n"]:
        """Computes bits per dimension of images, uniformly dequantized; of vectors, of their density in own units.

        By the model's solver if that chooses its steps, otherwise by RK45 with the config's tolerances.

        Args:
          images: image k has the draws of number k.
          seed: of the noise within grey levels and of the probes of the divergence.
          draws: averaged.
          context: of each image.

        Raises:
          InputError: they are not images of the model, or the context is of another number of them.
          SolveError: the ODE could not be solved.
        """
        seed, draws = arguments.to_seed(seed), arguments.to_integer("draws", draws, 1)
        images, context = self.check(images), arguments.to_context(context)
        pieces = self.bits(images, np.arange(len(images), dtype=np.int32), seed, draws, context)
        return np.concatenate([piece.check(first).mean for first, piece in pieces])

    def log_prob(
        self,
        images: Num[np.ndarray | Array, "n H W C"],
        seed: int = 0,
        draws: int = 1,
        context: Context = NO_CONTEXT,
    ) -> Float[np.ndarray, " n"]:
        """Computes log densities in nats, in units of grey levels or of the vectors themselves; see `bits_per_dim`."""
        return -self.bits_per_dim(images, seed, draws, context) * (np.prod(self.shape) * np.log(2.0))

    @functools.cache  # noqa: B019  (a model lives as long as its compiled functions)
    def _with_sampler(self, name: str) -> "TrainedModel":
        config = self.config.copy_and_resolve_references()
        build.choose_sampler(config, name)
        config_lib.validate(config)
        return TrainedModel(config, self.params, self.step)

    # What evaluation is built on

    def draw(self, n: int, seed: int, first: int = 0, context: Context = NO_CONTEXT) -> Iterator[Solution]:
        """Draws samples in network units, in batches; not checked; see `Generator.draw`."""
        return self.generator.draw(self.params, n, seed, first, context)

    def bits(
        self,
        stored: Num[np.ndarray, "n H W C"],
        index: Int[np.ndarray, " n"],
        seed: int,
        draws: int,
        context: Context = NO_CONTEXT,
    ) -> Iterator[tuple[int, BitsPerDim]]:
        """Computes bits per dimension in batches; not checked; see `Generator.bits`."""
        return self.generator.bits(self.params, stored, index, seed, draws, context)

    def check(self, images: Any) -> Num[np.ndarray, "n H W C"]:
        """Returns the images as an array.

        Raises:
          InputError: they are not images of the model.
        """
        return arguments.to_images(images, self.shape, self.scaling)


def load(workdir: str | Folder, step: int | None = None, **overrides: Any) -> TrainedModel:
    """Loads the model of a run, with averaged parameters.

    Args:
      workdir: of the run; gs:// works too.
      step: of a checkpoint; None for the newest that is good.
      **overrides: fields of the config, as `load("runs/digits", **{"sampling.ode_solver": "euler"})`.

    Raises:
      InputError: there is no run, no such checkpoint, or a field is out of range or of another model.
    """
    folder = folders.to_folder(workdir)
    config = config_files.read(folder)
    saved = config.copy_and_resolve_references()
    config_files.override(config, overrides)
    config_lib.validate(config)
    config_lib.check_same_model(config, saved)
    return load_with(config, folder, step)


def load_with(config: ml_collections.ConfigDict, workdir: Folder, step: int | None = None) -> TrainedModel:
    """Loads the model of a run with a config whose fields are filled in.

    Raises:
      InputError: there is no such checkpoint, or it is of another network than the config's.
    """
    params, found = load_params(workdir, step)
    shapes = lambda tree: {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(tree)}
    network = models.create_model(config)
    expected = jax.eval_shape(lambda key: build.init_params(network, config, key), jax.random.key(0))
    if shapes(params) != shapes(expected):
        raise InputError(
            f"the checkpoint of step {found} in {workdir} is of another network than its config.json; restore the "
            "fields of model there, or choose another --workdir"
        )
    return TrainedModel(config, params, found)


def load_params(workdir: Folder, step: int | None = None) -> tuple[PyTree, int]:
    """Loads the averaged parameters of a checkpoint of a run, and its step.

    Raises:
      InputError: there is no such checkpoint.
    """
    step = None if step is None else arguments.to_integer("step", step, 0)
    with checkpoints_of(workdir) as checkpoints:
        return checkpoints.restore_ema(step)


def checkpoints_of(workdir: Folder) -> Checkpoints:
    """Opens the checkpoints of a run, to be read.

    Raises:
      InputError: there are none.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        if os.path.lexists(directory):
            raise InputError(
                f"{directory} is not a folder, where a run keeps its checkpoints; move it to another place"
            )
        raise InputError(f"--workdir is {workdir}, which holds no checkpoints; train first, with --mode train")
    return Checkpoints(directory, read_only=True)
