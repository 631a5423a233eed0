"""What all methods have in common that add noise at once: diffusions, score-based SDEs, flow matching, PFGM++.

The noise is Gaussian or, with a finite number D of additional dimensions, that of `kernel`. Everything else is the same
for every D (Xu et al. 2023, arXiv:2302.04265, section 4 and appendix C.2): the network, its levels, the ODE, solvers.
So a network that was trained with one D can be trained on, or sampled, with another.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from pfgm_jax import ranges
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods import kernel, predictions, score_matching
from pfgm_jax.methods.base import Field, Network, Time, TrainingPair, flatten, levels, per_row
from pfgm_jax.methods.path import SMALLEST_TIME, Path
from pfgm_jax.methods.predictions import Marginal
from pfgm_jax.methods.times import TIMES, draw_ratios

# α is at least this large where the data are seen from x / α.
SMALLEST_ALPHA = 1e-3

OBJECTIVES = ("denoising", *score_matching.OBJECTIVES)


@dataclasses.dataclass(frozen=True)
class DenoisingMethod(Path):
    """A method that adds noise. A subclass is a path: α and σ, its time, and what the network is shown of it.

    Attributes:
      prediction: what the network predicts, see `predictions.coefficients`; '' for the method's usual.
      weighting: of the loss, see `predictions.weight`, or 'likelihood'; '' for 'simple', or the method's usual.
      likelihood_weighting: the release's name for the weighting 'likelihood'.
      times: how training times are drawn: 'uniform' in the method's time, or see `times.draw_ratios`; '' for the
        method's usual.
      log_mean, log_std: see `times.draw_ratios`.
      objective: 'denoising', or a kind of score matching without targets, see `score_matching`.
      reduce_mean: loss as the mean over dimensions rather than half the sum.
      eps: the time where sampling ends; 0 for the method's usual.
      noise_removal: denoise samples at their end.
    """

    fields: ClassVar[Mapping[str, str]] = {
        **Path.fields,
        "prediction": "training.prediction",
        "weighting": "training.weighting",
        "likelihood_weighting": "training.likelihood_weighting",
        "times": "training.times",
        "log_mean": "training.log_mean",
        "log_std": "training.log_std",
        "objective": "training.objective",
        "reduce_mean": "training.reduce_mean",
        "eps": "sampling.eps",
        "noise_removal": "sampling.noise_removal",
    }
    identity: ClassVar[tuple[str, ...]] = ("prediction",)
    references: ClassVar[tuple[str, ...]] = ("example", "batch", "dataset")
    # The usual prediction, weighting, training times and end of sampling.
    own_times: ClassVar[str] = "uniform"
    own_prediction: ClassVar[str] = "noise"
    own_weighting: ClassVar[str] = "simple"
    own_eps: ClassVar[float] = 1e-3

    prediction: str = ""
    weighting: str = ""
    likelihood_weighting: bool = False
    times: str = ""
    log_mean: float = -1.2
    log_std: float = 1.2
    objective: str = "denoising"
    reduce_mean: bool = False
    eps: float = 0.0
    noise_removal: bool = True

    def __post_init__(self):
        super().__post_init__()
        or_empty = lambda names: ranges.Range(
            lambda v: v in ("", *names), f"choose one of {', '.join(names)}, or '' for the method's usual"
        )
        ranges.check(
            self,
            prediction=or_empty(predictions.PREDICTIONS),
            weighting=or_empty((*predictions.WEIGHTINGS, "likelihood")),
            times=or_empty(TIMES),
            log_mean=ranges.Range(lambda v: abs(v) < 50, "give a number between -50 and 50"),
            log_std=ranges.above(0),
            objective=ranges.one_of(OBJECTIVES),
            eps=ranges.Range(lambda v: v == 0 or SMALLEST_TIME <= v < 0.5, "give a time of 1e-5 to 0.5, or 0"),
        )
        if self.objective != "denoising" and not self.is_gaussian:
            raise FieldError(
                "objective",
                self.objective,
                f"of noise with D = {self.kernel_dimensions:g} no score is learned: choose 'denoising', or D = inf",
            )

    def check_reference(self, reference: str) -> None:
        """Checks whose field is to be the target; see `Method`. Without targets, no field is needed."""
        super().check_reference(reference)
        if self.objective != "denoising" and reference not in ("", "example"):
            raise FieldError(
                "reference",
                reference,
                f"the objective {self.objective!r} has no target: choose 'example', or denoising",
            )

    @property
    def predicts(self) -> str:
        """What the network predicts."""
        return self.prediction or self.own_prediction

    @property
    def first_time(self) -> float:
        """The time where sampling ends."""
        return self.eps or self.own_eps

    @property
    def denoises_samples(self) -> bool:
        """Whether samples are denoised at their end."""
        return self.noise_removal

    def for_densities(self) -> "DenoisingMethod":
        """Returns the method whose ODE starts as near to the data as networks are trained."""
        return dataclasses.replace(self, eps=self.smallest_time) if self.first_time > self.smallest_time else self

    def summary(self) -> dict[str, float]:
        """Returns the noise levels where sampling starts and ends, and the prior's standard deviation."""
        name = self.level_name
        levels = {f"largest {name}": math.exp(self.t_prior), f"smallest {name}": math.exp(self.t_data)}
        return {"D": self.kernel_dimensions, **levels, "scale of the prior": self.prior_std}

    # Training

    def draw_times(self, key: Key[Array, ""], n: int) -> Float[Array, " n"]:
        """Draws the times of n examples."""
        times = self.times or self.own_times
        if times == "uniform":
            return self.uniform_times(jax.random.uniform(key, (n,)))
        ratio = draw_ratios(times, key, n, self.log_mean, self.log_std)
        rho = ratio / (1 + self.contraction * ratio)
        return self.nearest_time(jnp.clip(self.time_of(rho), self.smallest_time, self.last_time))

    def nearest_time(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes the nearest time that a network is trained at; of continuous methods, itself."""
        return time

    def uniform_times(self, u: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes times from numbers that are uniform on [0, 1)."""
        return u * (self.last_time - SMALLEST_TIME) + SMALLEST_TIME

    def training_pair(
        self,
        key: Key[Array, ""],
        data: Float[Array, "b H W C"],
        context: Context = NO_CONTEXT,
        field: Field | None = None,
    ) -> TrainingPair:
        """Adds noise to examples; see `Method.training_pair`."""
        key_time, key_noise, key_probe = jax.random.split(key, 3)
        data, noise = self.data_and_noise(key_noise, data)
        pair = self.pair_at(data, self.draw_times(key_time, len(data)), noise, context, field)
        if self.objective == "denoising":
            return pair
        return pair._replace(target=flatten(jax.random.rademacher(key_probe, data.shape, data.dtype)))

    def data_and_noise(
        self, key: Key[Array, ""], data: Float[Array, "b H W C"]
    ) -> tuple[Float[Array, "b H W _"], Float[Array, "b H W _"]]:
        """Returns examples and the noise that is added to each."""
        return data, kernel.noises(key, data.shape, self.kernel_dimensions)

    def pair_at(
        self,
        data: Float[Array, "b H W C"],
        time: Float[Array, " b"],
        noise: Float[Array, "b H W C"],
        context: Context = NO_CONTEXT,
        field: Field | None = None,
    ) -> TrainingPair:
        """Computes the network's input and target for given times and noise.

        Args:
          data: the examples.
          time: of each.
          noise: of each.
          context: passed on.
          field: of the charges; None: the target is that of the own example.
        """
        rho = self.rho_at(time)
        at = self.marginal(rho)
        x = per_row(at.alpha, data) * data + per_row(at.sigma, data) * noise
        if field is not None:
            alpha = jnp.maximum(at.alpha, SMALLEST_ALPHA)
            ratio = at.sigma / alpha
            mean, towards = field(flatten(data + per_row(ratio, data) * noise), ratio)
            data = mean.reshape(data.shape)
            noise = -towards.reshape(data.shape) / per_row(ratio, data)
        target = jax.lax.stop_gradient(predictions.answer(self.predicts, data, noise, at))
        return TrainingPair(x, self.label(time), context, flatten(target), self._weight(time, at), rho)

    def _weight(self, time: Float[Array, " b"], at: Marginal) -> Float[Array, " b"]:
        if self.objective != "denoising":
            return at.sigma**2
        if self.weighs_likelihood:
            return self.likelihood_weight(time) * predictions.weight("simple", self.predicts, at)
        return predictions.weight(self.weighting or self.own_weighting, self.predicts, at)

    @property
    def weighs_likelihood(self) -> bool:
        """Whether the weighting is 'likelihood', by either name."""
        return self.likelihood_weighting or self.weighting == "likelihood"

    def likelihood_weight(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        """Computes g²/σ² of the diffusion with the same marginals: twice the slope of log σ/α in time.

        Errors of the noise, so weighted, bound the likelihood (Song et al. 2021, arXiv:2101.09258).
        """
        slope = lambda t: jax.jvp(lambda t: jnp.log(self._ratio(t)), (t,), (jnp.ones_like(t),))[1]
        return 2 * slope(time)

    def _ratio(self, time: Float[Array, " b"]) -> Float[Array, " b"]:
        at = self.marginal(self.rho_at(time))
        return at.sigma / at.alpha

    def losses(self, net: Network, pair: TrainingPair) -> Float[Array, " b"]:
        """Computes the loss of a network for each example."""
        at = self.marginal(pair.noise_level)
        scaled = lambda x: net(per_row(predictions.input_scale(self.predicts, at), x) * x, pair.level, pair.context)
        if self.objective == "denoising":
            return self.loss(scaled(pair.x), pair)
        score = lambda x: predictions.to_score(self.predicts, scaled(x), x, at)
        found = score_matching.loss(self.objective, score, pair.x, pair.target.reshape(pair.x.shape))
        return pair.weight * found * (2 / self.dim if self.reduce_mean else 1)

    def loss(self, output: Float[Array, "b H W out"], pair: TrainingPair) -> Float[Array, " b"]:
        """Computes half the weighted sum of squared errors, or their mean where `reduce_mean`."""
        squares = (flatten(output) - pair.target) ** 2
        return pair.weight * (jnp.mean(squares, axis=1) if self.reduce_mean else 0.5 * jnp.sum(squares, axis=1))

    # ODE

    def answer_at(
        self, net: Network, x: Float[Array, "b H W C"], time: Float[Array, " b"], at: Marginal, context: Context
    ) -> Float[Array, "b H W C"]:
        """Computes what the network predicts of noisy examples x in its own coordinates, α x0 + σ ε."""
        shown = per_row(predictions.input_scale(self.predicts, at), x) * x
        return net(shown, self.label(time), context).astype(x.dtype)

    def _answer(
        self, net: Network, u: Float[Array, "b H W C"], t: Time, context: Context
    ) -> tuple[Float[Array, "b H W C"], Float[Array, "b H W C"], Marginal, Float[Array, " b"]]:
        rho = levels(t, u)
        at = self.marginal(rho)
        x = u if self.contraction else per_row(at.alpha, u) * u
        return self.answer_at(net, x, self.time_of(rho), at, context), x, at, rho

    def velocity(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes du/dt = ρ (ε - c x0) from what the network predicts, without a difference of large numbers."""
        F, noisy, at, rho = self._answer(net, x, t, context)
        slope = predictions.convert(F, noisy, at, self.predicts, "flow" if self.contraction else "noise")
        return per_row(rho, x) * slope

    def denoise(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes the mean of the data as seen from x at time t."""
        F, noisy, at, _ = self._answer(net, x, t, context)
        return predictions.to_data(self.predicts, F, noisy, at)

    def score(
        self, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
    ) -> Float[Array, "b H W C"]:
        """Computes the gradient of the log density of u at (x, t), -ε / ρ.

        Raises:
          ValueError: the noise is not Gaussian, so that ε says nothing of the density.
        """
        self.check_gaussian()
        F, noisy, at, rho = self._answer(net, x, t, context)
        return -predictions.to_noise(self.predicts, F, noisy, at) / per_row(rho, x)
