"""Every field of a config, once, with its meaning, unit and range. The files of configs/ are differences from this one.

The fields of `sampling`, `eval` and `restore`, of how a trained model is used, are in `defaults_of_use`.

Names and groups are those of the authors' release, so that overrides written for it work here. Lengths are in network
units, in which images lie in [-1, 1]. A `0` where it says so stands for "from the data", and is filled in, printed, and
saved with the run.
"""

import dataclasses
from typing import Any

import ml_collections
from ml_collections import config_dict

from pfgm_jax import defaults_of_use
from pfgm_jax.registry import METHODS, MODELS, OPERATORS, RULES, SAMPLERS

# Fields of the authors' release that have no effect here. Configs may have them, so that theirs can be converted.
OF_THE_RELEASE = (
    "device",
    *(f"data.{name}" for name in ("category", "channels", "tfrecords_path")),
    "training.model",
    "sampling.vs",
    *(f"eval.{name}" for name in ("begin_ckpt", "end_ckpt", "save_images")),
    *(f"model.{name}" for name in ("attention_type", "conv_size", "interpolation")),
    *(f"model.{name}" for name in ("normalization", "sigma_begin", "spec_norm", "z_max", "z_min")),
    *(f"optim.{name}" for name in ("amsgrad",)),
)


def get_config() -> ml_collections.ConfigDict:
    """Creates the defaults: the paper's PFGM for CIFAR-10 (Xu et al. 2022, appendix B).

    Fields that a registered method, sampler or network has of its own, such as a method's group, are added with the
    defaults of its attributes, which its class explains.
    """
    config = ml_collections.ConfigDict()
    config.seed = 49  # every random number of a run follows from it; integer >= 0
    config.data, config.training = _data(), _training()
    config.model, config.optim, config.pfgmpp = _model(), _optim(), _pfgmpp()
    config.sampling, config.eval, config.restore = defaults_of_use.groups()
    for registry in (METHODS, SAMPLERS, OPERATORS, RULES):
        for name in registry:
            _add_own_fields(config, registry[name], registry[name].fields)
    for name in MODELS:
        network = MODELS[name]
        _add_own_fields(config, network, {field: f"model.{field}" for field in network.attributes()})
    return config


def _add_own_fields(config: ml_collections.ConfigDict, kind: Any, fields: dict[str, str]) -> None:
    attributes = {field.name: field for field in dataclasses.fields(kind)}
    for attribute, path in fields.items():
        group, _, name = path.partition(".")
        if group not in config:
            config[group] = ml_collections.ConfigDict()
        if name not in config[group]:
            config[group][name] = _default(attributes[attribute], path)


def _default(field: Any, path: str) -> Any:
    if field.default is not dataclasses.MISSING:
        # Of a number such as 3.0 that was written as 3: a config field has the type of its default.
        return float(field.default) if field.type is float else field.default
    if field.default_factory is dataclasses.MISSING:
        raise ValueError(f"{path} is a field of the config, but the attribute {field.name} has no default; give it one")
    return field.default_factory()


def _data() -> ml_collections.ConfigDict:
    """What is learned."""
    data = ml_collections.ConfigDict()
    # digits, heart, two_moons, checkerboard, eight_gaussians, arrays:PATH (.npy or .npz), folder:PATH (of pictures),
    # cifar10, fashion_mnist, celeba, lsun_bedroom (python -m pfgm_jax.datasets prepare NAME), or tfds:NAME.
    data.dataset = "digits"
    data.dir = ""  # folder of prepared data sets and of the cache; "": TFDS_DATA_DIR, or ~/.cache/pfgm_jax
    # Pixels: the side of a square, or (height, width); 0: from the data.
    data.image_size = config_dict.FieldReference(0, field_type=object)
    data.num_channels = 0  # of images, or the number of components of vectors; 0: from the data
    data.bits = 8  # of a value of the pictures of folder:PATH: 8; without loss 16, or 32 for real numbers
    data.crop = 0  # side of square patches of the images, which are then what is learned, at random places; 0: whole
    # Grey levels of images: integers lowest .. lowest + levels - 1; 0: from the data; real numbers have none.
    data.levels = 0
    data.lowest = 0  # the lowest of data.levels
    data.dtype = ""  # uint16 or int16, from data of 16 bits
    data.shift = ()  # what is subtracted from each channel of real numbers; (): from the data
    # What they are then divided by, a number or one a channel; 0: from the data, to a standard deviation of 1/2.
    data.scale = config_dict.FieldReference(0.0, field_type=object)
    data.label_counts = ()  # training examples of each of model.num_classes; (): from the data
    # How many times as short are the sides of an image's own copy that conditions it, as an upsampler's; 0: none.
    data.condition_factor = 0
    data.condition_channels = 0  # of images that condition the network; 0: from the data, which may have none
    data.condition_shift = ()  # what is subtracted from each of their channels; (): from the data
    data.condition_scale = ()  # what each is then divided by; (): from the data, to about [-1, 1]
    data.centered = True  # images in [-1, 1]; False: in [0, 1]
    data.random_flip = True  # mirror training images left to right, at random
    # Probability of each of EDM's geometric transformations of images, of which the network is told; in [0, 1].
    data.augmentation = 0.0
    data.uniform_dequantization = False  # add noise of one grey level, as likelihoods ask for
    return data


def _training() -> ml_collections.ConfigDict:
    """How it is learned."""
    training = ml_collections.ConfigDict()
    # Generative method: poisson; vesde, vpsde, subvpsde (score-based SDEs; with continuous=False NCSN and DDPM), cosine
    # (the schedule of improved DDPM); flow (flow matching); pfgmpp (PFGM++; with pfgmpp.D=inf EDM).
    training.sde = "poisson"
    training.n_iters = 1_300_000  # optimiser steps; >= 1
    training.batch_size = 4096  # data points drawn per step, all of which are charges; >= small_batch_size
    training.small_batch_size = 128  # of these, how many are perturbed and shown to the network; >= 1
    # Points that each device perturbs, instead of small_batch_size in total; batch_size is raised to match if it is
    # smaller; 0: not used
    training.points_per_device = 0
    # Number of devices from which on each holds only its part of Adam's moments and the averages; 0: each holds all
    training.spread_from = 8
    # Charges: 'batch', 'dataset' for the exact field of the whole training set, or 'example'; "": the method's usual.
    training.field_reference = ""
    training.field_chunk = 4096  # charges read at a time; bounds the memory of the field; >= 1
    # Microbatches that the perturbed points of each device are split into, to save memory; the gradient is the same.
    training.accumulate = 1  # times the number of devices, it divides small_batch_size; >= 1
    training.log_freq = 50  # steps between lines of metrics.jsonl; >= 1
    training.eval_freq = 10_000  # steps between held-out losses; >= 1
    training.snapshot_freq = 50_000  # steps between checkpoints that are kept for good, with a grid of samples; >= 1
    training.snapshot_freq_for_preemption = 10_000  # steps between checkpoints to resume from; >= 1
    training.snapshot_sampling = True  # draw the grid of samples at each snapshot
    training.wandb = ""  # project of Weights & Biases that receives metrics and samples too; "": none
    training.restart = False  # begin again in a workdir whose checkpoints are gone; what else is there stays
    training.reduce_mean = False  # loss: mean over dimensions; False: half the sum
    # Count only charges of the same label, or of the same image where that conditions the network; False: count all.
    training.conditional_field = True
    training.M = 0.0  # largest exponent of the perturbation; 0: from the data
    training.tau = 0.03  # growth of the perturbation from one exponent to the next; in (0, 1]
    training.gamma = 5.0  # constant of the normalized field; > 0
    training.restrict_M = True  # smaller exponents for points nearest to the data plane
    # Of all methods but PFGM:
    training.continuous = True  # noise levels from an interval; False: model.num_scales of them, shown by their number
    # What the network predicts: noise, score, x0, v, flow (noise - data) or edm; "": noise; of vesde score, of flow
    # flow, of pfgmpp edm.
    training.prediction = ""
    # Of errors: simple (of the noise), likelihood, x0 (of the data), snr, min_snr, flow, edm; "": simple; of flow flow,
    # of pfgmpp edm.
    training.weighting = ""
    training.likelihood_weighting = False  # the release's name for the weighting likelihood
    # How training times are drawn: uniform, log_normal or cosine; "": uniform; of pfgmpp log_normal.
    training.times = ""
    training.log_mean = -1.2  # of the logarithm of noise over data, with log_normal
    training.log_std = 1.2  # its standard deviation; > 0
    training.pairs = ""  # of flow: a file of --mode reflow, to train on its pairs of noise and data; "": on the data
    # denoising, or score matching without targets: sliced, sliced_vr (of less variance), trace (for few dimensions).
    training.objective = "denoising"
    return training


def _pfgmpp() -> ml_collections.ConfigDict:
    """The noise."""
    pfgmpp = ml_collections.ConfigDict()
    # Number of additional dimensions of the noise of any method but PFGM, in [1, inf]; inf is Gaussian noise.
    pfgmpp.D = 0.0  # 0: inf; of pfgmpp 2048
    # Of pfgmpp:
    pfgmpp.sigma_min = 0.002  # noise level where sampling ends, in network units; > 0
    pfgmpp.sigma_max = 80.0  # where it starts; > sigma_min
    return pfgmpp


def _model() -> ml_collections.ConfigDict:
    """The network."""
    model = ml_collections.ConfigDict()
    model.name = "ncsnpp"  # ncsnpp or ncsnv2 (images), mlp (vectors)
    model.sigma_end = 0.01  # standard deviation of the smallest perturbation; > 0
    model.num_classes = 0  # classes 0 .. num_classes - 1 of the data's labels, shown to the network; 0: none
    model.label_size = 0  # how many numbers of the data's labels it is shown, if these are no classes; 0: none
    model.label_dropout = 0.1  # share of the training examples whose label it is not shown, for guidance; in [0, 1)
    model.ema_rate = 0.9999  # decay of the moving average of the parameters; in [0, 1)
    # Lengths of averages, relative to the steps, that checkpoints keep besides, such as (0.05,0.1), so that
    # `python -m pfgm_jax ema` can make one of any length after training; each takes the memory of the parameters.
    model.ema_profiles = ()
    model.nf = 128  # channels of the first level, or width of the mlp; >= 4
    # Of images:
    model.dtype = "float32"  # of the network's computation: float32 or bfloat16; parameters are float32
    model.remat = False  # compute blocks again in the backward pass, which takes time and saves memory
    model.nonlinearity = "swish"  # swish, elu, relu or lrelu
    model.scale_by_sigma = False  # divide the output by the noise level, as networks of VE score models do
    model.sigma_min = 0.01  # smallest noise level of score models; > 0
    model.sigma_max = 50.0  # largest noise level of score models; > sigma_min
    model.num_scales = 1000  # number of noise levels of discrete score models; >= 2
    model.beta_min = 0.1  # of vpsde and subvpsde: rate of the noise at the data; > 0
    model.beta_max = 20.0  # at the prior; >= beta_min, and below num_scales and N where levels are discrete
    model.octaves = 0  # of the mlp: frequencies at which it is shown positions too, for detail in few dimensions; >= 0
    # Of ncsnpp:
    model.ch_mult = (1, 2, 2, 2)  # channels of each level, in units of nf; 2^(levels - 1) divides the image's sides
    model.num_res_blocks = 4  # residual blocks per level, or layers of the mlp; >= 1
    model.attn_resolutions = (16,)  # levels whose shorter side is one of these have attention
    model.dropout = 0.1  # in [0, 1)
    model.resblock_type = "biggan"  # biggan or ddpm
    model.resamp_with_conv = True  # with ddpm blocks: convolve where the size changes
    model.fir = False  # filter where the size changes
    model.fir_kernel = (1, 3, 3, 1)  # taps of that filter; 2 to 16 numbers with a positive sum
    model.progressive_input = "none"  # how a pyramid of the input joins each level: none, input_skip or residual
    model.progressive = "none"  # how a pyramid of outputs is built up: none, output_skip or residual
    model.progressive_combine = "sum"  # how input_skip joins: sum or cat
    # Of z: positional, positional_log (of a quarter of log z, as in EDM), or fourier (of log z; of EDM's quarter with a
    # fourth of the scale).
    model.embedding_type = "positional"
    model.fourier_scale = 16.0  # standard deviation of the Fourier frequencies; > 0
    model.conditional = True  # show z to the network
    model.skip_rescale = True  # divide sums of branches by the square root of 2
    model.init_scale = 0.0  # scale of the last kernel of each block; 0 stands for 1e-10
    return model


def _optim() -> ml_collections.ConfigDict:
    """The optimiser."""
    optim = ml_collections.ConfigDict()
    optim.optimizer = "Adam"  # Adam
    optim.lr = 2e-4  # learning rate; > 0
    optim.beta1 = 0.9  # decay of Adam's first moment; in [0, 1)
    optim.eps = 1e-8  # Adam's epsilon; > 0
    optim.weight_decay = 0.0  # L2 penalty, added to the gradient; >= 0
    optim.warmup = 5000  # steps over which the learning rate rises from 0; >= 0
    optim.schedule = "constant"  # of the learning rate after that: constant, or cosine, which ends at 0 with n_iters
    optim.grad_clip = 1.0  # largest global norm of the gradient; not 0; < 0: no limit
    return optim
