"""Distances between sets of images, and their building blocks.

extractor = create_extractor("inception", ExtractorOptions(datasets.data_dir()))
reference = reference_statistics("cifar10", dataset.train, extractor, datasets.data_dir())
evaluate(extract(images, extractor), reference)["fid"]
"""

from etils import epy

# When they are first used, so that `--help` does not wait for JAX.
with epy.lazy_api_imports(globals()):
    from pfgm_jax.metrics.evaluation import check_dimension, evaluate, evaluate_paired, evaluate_vectors
    from pfgm_jax.metrics.features import (
        Extractor,
        ExtractorOptions,
        Features,
        create_extractor,
        extract,
    )
    from pfgm_jax.metrics.frechet import Gaussian, frechet_distance
    from pfgm_jax.metrics.held_out import copying
    from pfgm_jax.metrics.inception_features import InceptionExtractor
    from pfgm_jax.metrics.kernel import kernel_distance
    from pfgm_jax.metrics.metric import HeldOutMetric, Metric, MetricOptions, PairedMetric, VectorMetric
    from pfgm_jax.metrics.neighbours import precision_recall
    from pfgm_jax.metrics.outlying import outliers
    from pfgm_jax.metrics.pixels import PixelExtractor
    from pfgm_jax.metrics.reference import reference_statistics
    from pfgm_jax.metrics.score import inception_score
    from pfgm_jax.metrics.statistics import Statistics, collect_statistics, load_statistics, save_statistics
    from pfgm_jax.metrics.wasserstein import sliced_wasserstein
    from pfgm_jax.registry import FRONT_ENDS

__all__ = [
    "FRONT_ENDS",
    "Extractor",
    "ExtractorOptions",
    "Features",
    "Gaussian",
    "HeldOutMetric",
    "InceptionExtractor",
    "Metric",
    "MetricOptions",
    "PairedMetric",
    "PixelExtractor",
    "Statistics",
    "VectorMetric",
    "check_dimension",
    "collect_statistics",
    "copying",
    "create_extractor",
    "evaluate",
    "evaluate_paired",
    "evaluate_vectors",
    "extract",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "load_statistics",
    "outliers",
    "precision_recall",
    "reference_statistics",
    "save_statistics",
    "sliced_wasserstein",
]
