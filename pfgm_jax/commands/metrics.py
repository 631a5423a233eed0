"""The metrics of anybody's images.

python -m pfgm_jax.metrics --samples FOLDER_OR_NPZ --reference FOLDER_OR_NPZ_OR_DATASET
    [--features inception|efficientnet|pixels] [--front_end tensorflow|pytorch-fid] [--weights FILE.pth] [--levels N]
    [--split train|test] [--held_out FOLDER_OR_NPZ] [--data_dir DIR] [--batch_size N]

Samples are a folder of pictures, or a .npz file with uint8 images [n, H, W, C] as `samples`, `images` or `arr_0`. The
reference is one of these, a .npz file of statistics (`mu` and `sigma`, or `pool_3`), or the name of a data set as in
`data.dataset`, which is brought to the samples' size and whose statistics are kept in DIR/statistics.

With images that were held out of training, a folder or a .npz file like the others, it also prints the distances to
these (fid_test, kid_test), and whether the samples are copies of reference images: by how much the share of samples
that have a reference image within some distance exceeds that of held-out images (memorized; about 0 for new images, 1
for copies), and the share of samples that are nearer to a reference image than the median held-out image is
(nearer_than_test; about 0.5 for new images).

Prints `name: value`, one a line.
"""

import argparse
import functools
from pathlib import Path
from typing import NoReturn

from etils import epy

from pfgm_jax import datasets, metrics
from pfgm_jax.commands import command_line
from pfgm_jax.errors import InputError
from pfgm_jax.registry import FEATURES, FRONT_ENDS

with epy.lazy_imports():  # `--help` does not wait for JAX
    import numpy as np

    from pfgm_jax.metrics import features, image_files, statistics

ARRAY_FILES = (".npz", ".npy")
STATISTICS = {"mu", "sigma", "pool_3"}
# Of pictures, and of arrays unless --levels says otherwise.
LEVELS = 256


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the flags in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _arguments(program: str) -> argparse.Namespace:
    parser = _Parser(program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", required=True, help="folder of pictures, or .npz file of images")
    parser.add_argument("--reference", required=True, help="the same, or .npz file of statistics, or a data set")
    parser.add_argument("--features", choices=list(FEATURES), default="inception", help="pixels: for tiny images")
    parser.add_argument("--front_end", choices=FRONT_ENDS, default=FRONT_ENDS[0], help="how images become 299 x 299")
    parser.add_argument("--weights", type=Path, help="the network's; by default the published ones")
    parser.add_argument("--levels", type=int, help="grey levels of arrays; by default the data set's, else 256")
    parser.add_argument("--split", choices=("train", "test"), default="train", help="of a reference data set")
    parser.add_argument("--held_out", help="images that were held out of training: folder of pictures, or .npz file")
    parser.add_argument("--data_dir", default="", help="of data sets; by default TFDS_DATA_DIR or ~/.cache/pfgm_jax")
    parser.add_argument("--batch_size", type=int, default=64, help="images that the network sees at a time")
    return parser.parse_args()


def _read(path: Path, flag: str) -> "np.ndarray | image_files.PictureFolder":
    if path.is_dir():
        return image_files.PictureFolder(path)
    if path.suffix in ARRAY_FILES and path.is_file():
        return image_files.read_array(path)
    raise InputError(f"{flag} is {str(path)!r}, which is neither a folder nor a .npz file; give one")


def _load_dataset(name: str, shape: tuple[int, int, int], directory: Path) -> "datasets.Dataset":
    try:
        return datasets.load_dataset(name, shape[:2], shape[2], directory)
    except InputError as error:
        raise InputError(f"--reference is {name!r}: it is no folder or .npz file, and as a data set {error}") from None


def _check_shapes(samples: tuple[int, ...], others: tuple[int, ...], flag: str) -> None:
    if samples[1:] != others[1:]:
        shown = [" x ".join(map(str, shape[1:])) for shape in (samples, others)]
        raise InputError(f"--samples are {shown[0]} numbers each and {flag} {shown[1]}; bring them to one size")


def run(arguments: argparse.Namespace) -> dict[str, float]:
    """Computes numbers of images and metrics, by name.

    Raises:
      InputError: the samples, the reference or a flag is wrong.
    """
    if arguments.levels is not None and not 2 <= arguments.levels <= LEVELS:
        raise InputError(f"--levels is {arguments.levels}; give a number from 2 to {LEVELS}")
    if arguments.batch_size < 1:
        raise InputError(f"--batch_size is {arguments.batch_size}; give a number of at least 1")
    directory = datasets.data_dir(arguments.data_dir)
    samples, path = _read(Path(arguments.samples), "--samples"), Path(arguments.reference)
    there = path.is_dir() or (path.suffix in ARRAY_FILES and path.is_file())
    dataset = None if there else _load_dataset(arguments.reference, samples.shape[1:], directory)
    if dataset and not 0 < dataset.levels <= LEVELS:
        kind = "images of 16 bits or of real numbers" if max(dataset.shape[:2]) > 1 else "vectors"
        raise InputError(
            f"--reference is {arguments.reference!r}, which holds {kind}; name a data set of images of 8 bits"
        )
    array_levels = arguments.levels or (dataset.levels if dataset else LEVELS)

    @functools.cache
    def extractor(levels: int) -> "metrics.Extractor":
        names = ("front_end", "weights", "batch_size")
        flags = {name: getattr(arguments, name) for name in names}
        return metrics.create_extractor(arguments.features, metrics.ExtractorOptions(directory, levels, **flags))

    def extractor_of(images: "np.ndarray | image_files.PictureFolder") -> "metrics.Extractor":
        return extractor(LEVELS if isinstance(images, image_files.PictureFolder) else array_levels)

    def of_images(path: Path, flag: str) -> "metrics.Statistics":
        if path.suffix == ".npz" and path.is_file() and STATISTICS & set(image_files.array_names(path)):
            made = extractor_of(samples).record
            return metrics.load_statistics(path, {field: value for field, value in made.items() if field != "levels"})
        images = _read(path, flag)
        _check_shapes(samples.shape, images.shape, flag)
        chunks = features.feature_chunks(images, extractor_of(images), flag)
        return statistics.collect_statistics(chunk.features for chunk in chunks)

    def reference() -> "metrics.Statistics":
        if dataset:
            split = dataset.train if arguments.split == "train" else dataset.test
            _check_shapes(samples.shape, split.shape, "--reference")
            of_dataset = extractor(dataset.levels)
            return metrics.reference_statistics(arguments.reference, split, of_dataset, directory, arguments.split)
        return of_images(path, "--reference")

    compared = reference()
    held_out = of_images(Path(arguments.held_out), "--held_out") if arguments.held_out is not None else None
    found = metrics.evaluate(metrics.extract(samples, extractor_of(samples), "--samples"), compared, held_out)
    return {"samples": len(samples), "reference": compared.count, **found}


def main(program: str) -> None:
    """Prints the metrics.

    Args:
      program: how it is called, for messages.
    """
    command_line.keep_compilations()
    command_line.set_up_logging()
    with command_line.errors_as_sentences():
        for name, value in run(_arguments(program)).items():
            print(f"{name}: {value or 'unknown' if isinstance(value, int) else f'{value:.6g}'}")
