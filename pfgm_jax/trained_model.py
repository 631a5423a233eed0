"""A trained model as a library: samples, latents, likelihoods.

    import pfgm_jax

    model = pfgm_jax.load("runs/digits")
    images = model.sample(64, seed=0)
    latents = model.encode(images)
    bits = model.bits_per_dim(images)

The pure functions underneath, to be built on, are `sampling`, `latents`, `likelihood` and `methods`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Num

from pfgm_jax import arguments, build, config_files, given, latents
from pfgm_jax import config as config_lib
from pfgm_jax.bound_model import BoundModel
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import InputError, shown
from pfgm_jax.restorer import MOST_ANSWERS, Restorer, create_restorer


class TrainedModel(BoundModel):
    """A trained model, as users call it; for its attributes see `BoundModel`.

    Images are integers [n, H, W, C] with grey levels lowest .. lowest + levels - 1, or float32 in their own units, and
    vectors are float32 [n, 1, 1, N], all as `data.dataset` has them. Work is done `sampling.batch_size` rows at a time,
    on all devices.
    """

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        context: Context | None = None,
        sampler: str | None = None,
        *,
        label: Any = None,
        cond: Any = None,
        guidance: float | None = None,
    ) -> Num[np.ndarray, "n H W C"]:
        """Draws samples; sample k depends on the seed, on k and on what is given of it alone, up to rounding.

        Args:
          n: how many; None for one of each of `label` or `cond`.
          seed: with the number of a sample, decides it.
          context: what is given of each sample, in n rows, for networks of your own.
          sampler: one of `registry.SAMPLERS`, with the config's options; None for the config's own.
          label: a class, or numbers; one for all, or one for each. None: as `sampling.label` says, which by default
            draws classes as often as the data have them.
          cond: images that condition the samples, one for each, as the data set has them.
          guidance: how far to go towards the label, see `methods.guidance`; None for the config's own.

        Raises:
          InputError: what is given is of another number of samples, or the model does not know it.
          SolveError: the ODE could not be solved.
        """
        seed = arguments.to_seed(seed)
        n = arguments.to_integer("n", given.count(self.config, label, cond) if n is None else n, 1)
        changes: dict[str, Any] = {}
        if sampler is not None:
            changes["sampler"] = sampler if isinstance(sampler, str) else shown(sampler)
        if guidance is not None:
            changes["guidance"] = arguments.to_number("guidance", guidance)
        if changes:
            return self._with(**changes).sample(n, seed, context, label=label, cond=cond)
        if context is None:
            context = given.of_samples(self.config, seed, 0, n, self.examples, label, cond)
        else:
            context = given.of_images(self.config, n, context, label, cond)
        size = self.generator.batch_size(n)
        x = [batch.check(i * size).x for i, batch in enumerate(self.draw(n, seed, context=context))]
        return np.asarray(self.scaling.to_stored(np.concatenate(x)))

    def encode(
        self,
        images: Num[np.ndarray | Array, "n H W C"],
        context: Context = NO_CONTEXT,
        *,
        label: Any = None,
        cond: Any = None,
    ) -> Float[np.ndarray, "n H W C"]:
        """Encodes images: returns where the ODE carries them on the plane of the prior.

        Args:
          images: as the data set has them.
          context, label, cond: what is given of each, see `sample`; None for no label.

        Raises:
          InputError: they are not images of the model, or what is given is not of them.
          SolveError: the ODE could not be solved.
        """
        x = np.asarray(self.scaling.to_network(self.check(images)))
        return self.generator.encode(self.params, x, given.of_images(self.config, len(x), context, label, cond))

    def decode(
        self, z: Num[np.ndarray | Array, "..."], context: Context = NO_CONTEXT, *, label: Any = None, cond: Any = None
    ) -> Num[np.ndarray, "n H W C"]:
        """Decodes latents [n, H, W, C]: returns the images that the ODE leads them to; see `encode`.

        Raises:
          InputError: they are not latents of the model, or the context is of another number of them.
          SolveError: the ODE could not be solved.
        """
        with np.errstate(over="ignore"):
            z = arguments.to_array("the latents", z).astype(np.float32)
        if z.shape[1:] != self.shape or not z.size or not np.isfinite(z).all():
            wanted = ", ".join(map(str, self.shape))
            raise InputError(f"the latents have shape {z.shape}; the model takes finite numbers [n, {wanted}]")
        context = given.of_images(self.config, len(z), context, label, cond)
        return np.asarray(self.scaling.to_stored(self.generator.decode(self.params, z, context)))

    def interpolate(
        self,
        start: Num[np.ndarray | Array, "n H W C"],
        end: Num[np.ndarray | Array, "n H W C"],
        steps: int = 8,
        *,
        label: Any = None,
        cond: Any = None,
    ) -> Num[np.ndarray, "steps n H W C"]:
        """Draws images between images: their latents' directions along the great circle, norms geometrically.

        Args:
          start, end, steps: of each path; steps counts the ends.
          label, cond: what is given of each path, see `sample`; None for no label.

        Raises:
          InputError: they are not images of the model, or not as many, or what is given is not of them.
          SolveError: the ODE could not be solved.
        """
        steps = arguments.to_integer("steps", steps, 2)
        start, end = self.check(start), self.check(end)
        if start.shape != end.shape:
            raise InputError(f"{len(start)} and {len(end)} images cannot be paired; give as many of both")
        context = given.of_images(self.config, len(start), NO_CONTEXT, label, cond)
        a, b = self.encode(start, context), self.encode(end, context)
        path = np.asarray(latents.interpolate(jnp.asarray(a), jnp.asarray(b), jnp.linspace(0.0, 1.0, steps)))
        of_path = jax.tree.map(lambda rows: np.concatenate([rows] * steps), context)
        return self.decode(path.reshape(-1, *self.shape), of_path).reshape(path.shape)

    def bits_per_dim(
        self,
        images: Num[np.ndarray | Array, "n H W C"],
        seed: int = 0,
        draws: int = 1,
        context: Context = NO_CONTEXT,
        *,
        label: Any = None,
        cond: Any = None,
    ) -> Float[np.ndarray, " n"]:
        """Computes bits per dimension of images, uniformly dequantized; of vectors, of their density in own units.

        By the model's solver if that chooses its steps, otherwise by RK45 with the config's tolerances.

        Args:
          images: image k has the draws of number k.
          seed: of the noise within grey levels and of the probes of the divergence.
          draws: averaged.
          context, label, cond: what is given of each image, see `sample`; None for no label.

        Raises:
          InputError: they are not images of the model, or what is given is not of them.
          SolveError: the ODE could not be solved.
        """
        seed, draws = arguments.to_seed(seed), arguments.to_integer("draws", draws, 1)
        images = self.check(images)
        context = given.of_images(self.config, len(images), context, label, cond)
        pieces = self.bits(images, np.arange(len(images), dtype=np.int32), seed, draws, context)
        return np.concatenate([piece.check(first).mean for first, piece in pieces])

    def log_prob(
        self,
        images: Num[np.ndarray | Array, "n H W C"],
        seed: int = 0,
        draws: int = 1,
        context: Context = NO_CONTEXT,
        *,
        label: Any = None,
        cond: Any = None,
    ) -> Float[np.ndarray, " n"]:
        """Computes log densities in nats, in units of grey levels or of the numbers themselves; see `bits_per_dim`."""
        bits = self.bits_per_dim(images, seed, draws, context, label=label, cond=cond)
        return -bits * (np.prod(self.shape) * np.log(2.0))

    def restore(
        self,
        damaged: Num[np.ndarray | Array, "..."],
        operator: Any = None,
        *,
        mask: Any = None,
        samples: int | None = None,
        seed: int = 0,
        label: Any = None,
        cond: Any = None,
        sampler: str | None = None,
        **options: Any,
    ) -> Num[np.ndarray, "*samples n H W C"]:
        """Restores damaged images; answer j of image i depends on i, j, the seed and what is given of it alone.

        Args:
          damaged: what was measured of each, [n, ...], in the units of the data.
          operator: one of `registry.OPERATORS`, an operator, or a linear function of one image [H, W, C] in network
            units that JAX can trace; None for the config's own.
          mask: of inpaint, [H, W] or one for each image, not 0 where they are known; what is missing is not looked at.
          samples: answers of each image; None for one, without an axis for it.
          seed: of the answers.
          label, cond, sampler: see `sample`; None for no label.
          **options: fields of `config.restore` that say how, such as rule="pigdm", noise=5.0, factor=4.

        Raises:
          InputError: the images, the mask or an option do not suit the model.
          SolveError: the ODE could not be solved.
        """
        seed, count = arguments.to_seed(seed), arguments.to_integer("samples", 1 if samples is None else samples, 1)
        if count > MOST_ANSWERS:
            raise InputError(f"samples is {count}; give at most {MOST_ANSWERS}")
        options = {name: arguments.to_hashable(value) for name, value in options.items()}
        rounded = arguments.to_array("the damaged images", damaged).dtype.kind in "iu"
        for name, value in {"operator": operator, "sampler": sampler, **options}.items():
            arguments.check_hashable(name, value)
        restorer = self._restorer(operator, sampler, rounded, tuple(sorted(options.items())))
        y, known = restorer.check(damaged, mask)
        context = given.of_images(self.config, len(y), NO_CONTEXT, label, cond)
        answer = lambda j: restorer.restore(self.params, y, known, context, seed=seed, answer=j)
        found = [np.concatenate([part.x for _, part in answer(j)]) for j in range(count)]
        images = np.stack([np.asarray(self.scaling.to_stored(x)) for x in found])
        return images[0] if samples is None else images

    @functools.lru_cache(maxsize=16)  # noqa: B019  (see `_with`)
    def _restorer(self, operator: Any, sampler: str | None, rounded: bool, options: tuple) -> Restorer:
        return create_restorer(self.config, operator, sampler, rounded, dict(options))

    @functools.cache  # noqa: B019  (a model lives as long as its compiled functions)
    def _with(self, sampler: str | None = None, guidance: float | None = None) -> "TrainedModel":
        config = self.config.copy_and_resolve_references()
        if sampler is not None:
            build.choose_sampler(config, sampler)
        if guidance is not None:
            config_files.override(config, {"sampling.guidance": guidance})
        config_lib.validate(config)
        return self.with_config(config)

    def with_config(self, config: ml_collections.ConfigDict) -> "TrainedModel":
        """Returns the model with another config of the same network."""
        return TrainedModel(config, self.params, self.step, self.examples)
