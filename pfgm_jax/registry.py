"""Everything that a run can be made of, by the name that it has in a config.

To add a method, sampler, network, data source, metric or kind of features, write its file and add its line here. An
entry is "module:attribute", imported when it is first used, so that nothing waits for what it does not need.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from pfgm_jax.errors import InputError, shown


class Registry:
    """Objects by name.

    Attributes:
      field: the config field or flag whose value is such a name; messages begin with it.
    """

    def __init__(self, field: str, entries: dict[str, Any]):
        self.field = field
        self._entries = dict(entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> Any:
        """Returns the object of a name.

        Raises:
          InputError: no object has this name.
        """
        if name not in self:
            raise InputError(f"{self.field} is {shown(name)}; choose one of {', '.join(self)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def get(self, name: str) -> Any:
        """Returns the object of a name; None where there is none."""
        if name not in self:
            return None
        return self[name]

    def register(self, name: str, entry: Any) -> None:
        """Adds an object, or its "module:attribute", under a new name.

        Raises:
          ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{name!r} is registered already; choose another name")
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Removes a name."""
        del self._entries[name]


# Subclasses of `methods.Method`.
METHODS = Registry(
    "training.sde",
    {
        "poisson": "pfgm_jax.methods.poisson:Poisson",
        "vesde": "pfgm_jax.methods.vesde:VESDE",
        "vpsde": "pfgm_jax.methods.vpsde:VPSDE",
        "subvpsde": "pfgm_jax.methods.vpsde:SubVPSDE",
        "cosine": "pfgm_jax.methods.cosine:Cosine",
        "flow": "pfgm_jax.methods.flow:Flow",
        "pfgmpp": "pfgm_jax.methods.pfgmpp:PFGMPlusPlus",
    },
)

# Subclasses of `samplers.Sampler`.
SAMPLERS = Registry(
    "sampling.ode_solver",
    {
        "rk45": "pfgm_jax.samplers.adaptive:RK45",
        "tsit5": "pfgm_jax.samplers.adaptive:Tsit5",
        "improved_euler": "pfgm_jax.samplers.heun:ImprovedEuler",
        "heun": "pfgm_jax.samplers.heun:Heun",
        "euler": "pfgm_jax.samplers.multistep:Euler",
        "dpmpp_2m": "pfgm_jax.samplers.multistep:DPMpp2M",
        "dpmpp_3m": "pfgm_jax.samplers.multistep:DPMpp3M",
        "ddim": "pfgm_jax.samplers.stochastic:DDIM",
        "ddpm": "pfgm_jax.samplers.stochastic:DDPM",
        "sde_dpmpp_2m": "pfgm_jax.samplers.stochastic:SDEDPMpp2M",
        "edm": "pfgm_jax.samplers.churn:Churn",
        "pc": "pfgm_jax.samplers.predictor_corrector:PredictorCorrector",
        "annealed_langevin": "pfgm_jax.samplers.langevin:AnnealedLangevin",
        "disturbed_heun": "pfgm_jax.samplers.disturbed:DisturbedHeun",
        "repaint": "pfgm_jax.samplers.repaint:RePaint",
    },
)

# Flax modules, see `models.create_model`.
MODELS = Registry(
    "model.name",
    {
        "ncsnpp": "pfgm_jax.models.ncsnpp:NCSNpp",
        "ncsnv2": "pfgm_jax.models.ncsnv2:NCSNv2",
        "mlp": "pfgm_jax.models.mlp:MLP",
    },
)

# `datasets.Source`s. A name that ends in ":WORD" takes what follows the colon as its argument.
SOURCES = Registry(
    "data.dataset",
    {
        "digits": "pfgm_jax.datasets.digits:load",
        "heart": "pfgm_jax.datasets.plane:heart",
        "two_moons": "pfgm_jax.datasets.plane:two_moons",
        "checkerboard": "pfgm_jax.datasets.plane:checkerboard",
        "eight_gaussians": "pfgm_jax.datasets.plane:eight_gaussians",
        "arrays:PATH": "pfgm_jax.datasets.arrays:load",
        "folder:PATH": "pfgm_jax.datasets.folder:load",
        "cifar10": "pfgm_jax.datasets.cifar10:CIFAR10",
        "fashion_mnist": "pfgm_jax.datasets.fashion_mnist:FASHION_MNIST",
        "celeba": "pfgm_jax.datasets.celeba:CELEBA",
        "lsun_bedroom": "pfgm_jax.datasets.lsun:BEDROOM",
        "tfds:NAME": "pfgm_jax.datasets.prepared:load_tfds",
    },
)

# Subclasses of `restoration.operators.Operator`.
OPERATORS = Registry(
    "restore.operator",
    {
        "inpaint": "pfgm_jax.restoration.operators.inpaint:Inpaint",
        "crop": "pfgm_jax.restoration.operators.crop:Crop",
        "grey": "pfgm_jax.restoration.operators.grey:Grey",
        "downscale": "pfgm_jax.restoration.operators.downscale:Downscale",
        "blur": "pfgm_jax.restoration.operators.blur:Blur",
        "denoise": "pfgm_jax.restoration.operators.denoise:Denoise",
    },
)

# Subclasses of `restoration.rules.Rule`.
RULES = Registry(
    "restore.rule",
    {
        "null_space": "pfgm_jax.restoration.rules.null_space:NullSpace",
        "pigdm": "pfgm_jax.restoration.rules.pigdm:PiGDM",
        "dps": "pfgm_jax.restoration.rules.dps:DPS",
        "sdedit": "pfgm_jax.restoration.rules.sdedit:SDEdit",
    },
)

# `metrics.Metric`s.
METRICS = Registry(
    "metric",
    {
        "fid": "pfgm_jax.metrics.frechet:fid",
        "kid": "pfgm_jax.metrics.kernel:kid",
        "inception_score": "pfgm_jax.metrics.score:score",
        "precision_recall": "pfgm_jax.metrics.neighbours:precision_and_recall",
    },
)

# `metrics.HeldOutMetric`s, of samples beside training images and images that were held out.
HELD_OUT_METRICS = Registry(
    "metric beside held-out images",
    {
        "distances": "pfgm_jax.metrics.held_out:distances",
        "memorization": "pfgm_jax.metrics.held_out:memorization",
    },
)

# `metrics.PairedMetric`s, of images and what each should be.
PAIRED_METRICS = Registry(
    "metric of pairs",
    {
        "psnr": "pfgm_jax.metrics.paired:psnr",
        "ssim": "pfgm_jax.metrics.paired:ssim",
    },
)

# `metrics.VectorMetric`s.
VECTOR_METRICS = Registry(
    "metric of vectors",
    {
        "outliers": "pfgm_jax.metrics.outlying:share_of_outliers",
        "sliced_wasserstein": "pfgm_jax.metrics.wasserstein:against_data",
        "memorization": "pfgm_jax.metrics.held_out:memorization_of_vectors",
    },
)

# Functions from `metrics.ExtractorOptions` to an `Extractor`.
FEATURES = Registry(
    "eval.features",
    {
        "inception": "pfgm_jax.metrics.inception_features:create",
        "pixels": "pfgm_jax.metrics.pixels:create",
        "efficientnet": "pfgm_jax.metrics.efficientnet_features:create",
    },
)

# Of the features `inception`; see `metrics.front_ends`.
FRONT_ENDS = ("tensorflow", "pytorch-fid")
