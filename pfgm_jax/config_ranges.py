"""The ranges of config fields."""

import math
import re

from pfgm_jax import ranges
from pfgm_jax.methods import kernel
from pfgm_jax.models.layers import ACTIVATIONS
from pfgm_jax.ranges import Range
from pfgm_jax.registry import FRONT_ENDS
from pfgm_jax.restoration.operators.blur import ANGLE
from pfgm_jax.restoration.operators.downscale import FILTERS
from pfgm_jax.training.profiles import LONGEST, SHORTEST

# Of the names of images that are measured, or restored.
IMAGES = Range(
    lambda v: v in ("test", "train") or re.match("(folder|arrays):.", v) is not None,
    "choose test, train, folder:PATH or arrays:PATH",
)

# The range of every field whose type alone does not say it. Methods and samplers check their own fields themselves.
RANGES: dict[str, Range] = {
    "seed": Range(ranges.is_seed, "give an integer of at least 0 and below 2^32"),
    "data.image_size": Range(
        lambda v: v >= 0 if ranges.is_integer(v) else ranges.integers(v) and len(v) == 2 and min(v) > 0,
        "give the side of a square in pixels, (height, width), or 0 for the data's own",
    ),
    "data.num_channels": ranges.at_least(0),
    "data.levels": ranges.at_least(0),
    "data.bits": Range(lambda v: v in (8, 16, 32), "give 8, 16, or 32 for real numbers"),
    "data.dtype": Range(lambda v: v in ("", "uint16", "int16"), "leave it at '', for the data's own"),
    "data.crop": ranges.at_least(0),
    "data.scale": Range(
        lambda v: (
            bool(v) and ranges.finite_numbers(v) and min(v) > 0
            if isinstance(v, tuple)
            else ranges.is_number(v) and 0 <= v < math.inf
        ),
        "give a positive number, or one for each channel, such as (2.0,0.5); or 0 for the data's own",
    ),
    "data.augmentation": Range(lambda v: 0 <= v <= 1, "give a probability, from 0 to 1"),
    "data.condition_factor": Range(lambda v: v == 0 or v >= 2, "give an integer of at least 2, or 0"),
    "data.condition_channels": ranges.at_least(0),
    "data.condition_shift": Range(ranges.finite_numbers, "give a tuple of numbers, or () for the data's own"),
    "data.condition_scale": Range(
        lambda v: ranges.finite_numbers(v) and min(v, default=1) > 0,
        "give a tuple of positive numbers, or () for the data's own",
    ),
    "data.label_counts": Range(
        lambda v: ranges.integers(v) and min(v, default=0) >= 0, "leave it at (), for the data's own"
    ),
    "training.n_iters": ranges.at_least(1),
    "training.batch_size": ranges.at_least(1),
    "training.small_batch_size": ranges.at_least(1),
    "training.points_per_device": ranges.at_least(0),
    "training.spread_from": ranges.at_least(0),
    "training.field_chunk": ranges.at_least(1),
    "training.accumulate": ranges.at_least(1),
    "training.log_freq": ranges.at_least(1),
    "training.eval_freq": ranges.at_least(1),
    "training.snapshot_freq": ranges.at_least(1),
    "training.snapshot_freq_for_preemption": ranges.at_least(1),
    "sampling.num_samples": ranges.at_least(1),
    "sampling.batch_size": ranges.at_least(1),
    "sampling.checkpoint": ranges.at_least(0),
    "sampling.label": Range(
        lambda v: (
            all(ranges.finite_numbers(row) for row in v)
            if isinstance(v, tuple) and v and isinstance(v[0], tuple)
            else ranges.finite_numbers(v if isinstance(v, tuple) else (v,))
        ),
        "give a class, or one for each sample in turn, such as (0,1,2); or the numbers of a label; or ()",
    ),
    "sampling.guidance": ranges.at_least(0),
    "sampling.guidance_interval": Range(
        lambda v: v == () or (ranges.finite_numbers(v) and len(v) == 2 and 0 <= v[0] < v[1]),
        "give two noise levels, the lower first, such as (0.2,5.0), or () for all",
    ),
    "sampling.levels": ranges.descending(),
    "restore.noise": Range(lambda v: 0 <= v <= 1e9, "give a number of 0 to 1e9"),
    "restore.images": IMAGES,
    "restore.num_images": ranges.at_least(0),
    "restore.samples": Range(lambda v: 1 <= v <= 2048, "give a number of 1 to 2048"),
    "restore.start": ranges.at_least(0),
    "restore.factor": ranges.at_least(2),
    "restore.filter": ranges.one_of(FILTERS),
    "restore.extent": ranges.above(0),
    "restore.angle": ANGLE,
    "restore.strength": ranges.above(0),
    "eval.checkpoints": Range(
        lambda v: v in ("newest", "all") or all(re.fullmatch(r" *[0-9]{1,10} *", n) for n in v.split(",")),
        'give newest, all, or steps such as "50000,100000"',
    ),
    "eval.batch_size": ranges.at_least(1),
    "eval.bpd_dataset": IMAGES,
    "eval.num_samples": ranges.at_least(2),
    "eval.window": Range(
        lambda v: v == () or (ranges.finite_numbers(v) and len(v) == 2 and v[0] < v[1]),
        "give two numbers, the first below the second, such as (-1000,1500), or ()",
    ),
    "eval.front_end": ranges.one_of(FRONT_ENDS),
    "eval.num_images": ranges.at_least(0),
    "eval.num_probes": ranges.at_least(1),
    "model.num_classes": ranges.at_least(0),
    "model.label_size": ranges.at_least(0),
    "model.label_dropout": ranges.share(),
    "model.ema_rate": ranges.share(),
    "model.ema_profiles": Range(
        lambda v: ranges.finite_numbers(v) and len(v) != 1 and all(SHORTEST <= a <= LONGEST for a in v),
        f"give a tuple of two lengths or more, each from {SHORTEST} to {LONGEST}, such as (0.05,0.1), or ()",
    ),
    "model.nf": ranges.at_least(4),
    "model.ch_mult": Range(
        lambda v: ranges.integers(v) and len(v) > 0 and min(v) >= 1,
        "give a tuple of at least one integer, each at least 1, such as (1,2,2)",
    ),
    "model.attn_resolutions": Range(lambda v: ranges.integers(v), "give a tuple of integers, such as (16,)"),
    "data.shift": Range(lambda v: ranges.finite_numbers(v), "give a tuple of numbers, or () for the data's own"),
    "model.num_res_blocks": ranges.at_least(1),
    "model.octaves": ranges.at_least(0),
    "model.dtype": ranges.one_of(("float32", "bfloat16")),
    "model.resblock_type": ranges.one_of(("biggan", "ddpm")),
    "model.fir_kernel": Range(
        lambda v: ranges.finite_numbers(v) and 2 <= len(v) <= 16 and sum(v) > 0,
        "give a tuple of 2 to 16 numbers with a positive sum, such as (1,3,3,1)",
    ),
    "model.progressive_input": ranges.one_of(("none", "input_skip", "residual")),
    "model.progressive": ranges.one_of(("none", "output_skip", "residual")),
    "model.progressive_combine": ranges.one_of(("sum", "cat")),
    "model.embedding_type": ranges.one_of(("positional", "positional_log", "fourier")),
    "model.fourier_scale": ranges.above(0),
    "model.nonlinearity": ranges.one_of(ACTIVATIONS),
    "model.sigma_min": ranges.above(0),
    "model.sigma_max": ranges.above(0),
    "model.num_scales": ranges.at_least(1),
    "model.dropout": ranges.share(),
    "model.init_scale": ranges.at_least(0),
    "pfgmpp.D": kernel.DIMENSIONS,
    "pfgmpp.sigma_min": ranges.above(0),
    "pfgmpp.sigma_max": ranges.above(0),
    "optim.optimizer": ranges.one_of(("Adam",)),
    "optim.lr": ranges.above(0),
    "optim.beta1": ranges.share(),
    "optim.eps": ranges.above(0),
    "optim.weight_decay": ranges.at_least(0),
    "optim.warmup": ranges.at_least(0),
    "optim.schedule": ranges.one_of(("constant", "cosine")),
    "optim.grad_clip": Range(
        lambda v: ranges.is_number(v) and math.isfinite(v) and v != 0,
        "give a positive number, or -1 for no limit",
    ),
}
