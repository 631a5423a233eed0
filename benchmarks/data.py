"""How fast examples are read from each kind of source, and what reading costs the training loop.

    python -m benchmarks.data

The rates are of one thread. The host's time per step is what the training loop waits for its batch: 4,096 of 50,000
images in memory, beside a step of a reduced CIFAR-10 network (nf 32, one block a level) on this machine's CPU.
"""

import functools
import platform
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from configs import cifar10
from pfgm_jax import datasets
from pfgm_jax.datasets import images, prepare, store
from pfgm_jax.datasets.celeba import CELEBA
from pfgm_jax.sharding import Devices
from pfgm_jax.training.step import create_step, initializer, shardings_of_state

SIZES = (32, 64, 256)
COUNT = {32: 2000, 64: 1000, 256: 200}
STEPS = 10


def _pictures(size: int) -> list[Image.Image]:
    """Smooth images with some noise, so that they compress as photographs do."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT[size], 4, 4, 3), dtype=np.uint8)
    noise = rng.integers(-8, 9, (size, size, 3))
    smooth = (np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC), np.int16) for c in coarse)
    return [Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)) for image in smooth]


def _rate(split: datasets.Split, batch_size: int) -> float:
    """Images a second, drawn at random and each once."""
    order = np.random.default_rng(1).permutation(len(split))
    start = time.perf_counter()
    for first in range(0, len(order), batch_size):
        split[order[first : first + batch_size]]
    return len(order) / (time.perf_counter() - start)


def _decode(files: list[Path], geometry: images.Geometry, i: int) -> np.ndarray:
    return images.read_image(files[i], geometry)


def _prepared(folder: Path, pictures: list[Image.Image]) -> datasets.Split:
    """The pictures as tensorflow-datasets keeps them: PNG in array_record."""
    examples = lambda: ({"image": picture} for picture in pictures)
    prepare._build(CELEBA, folder, {"train": examples})
    size = pictures[0].size
    return datasets.load_dataset("tfds:pfgm_celeba", size, directory=folder).train


def rates(size: int) -> dict[str, float]:
    """Images a second of each source."""
    pictures = _pictures(size)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        arrays = np.stack([np.asarray(picture) for picture in pictures])
        found["arrays in memory"] = _rate(datasets.Split(np.tile(arrays, (10, 1, 1, 1))), 200)
        for kind in ("jpg", "png"):
            folder = root / kind
            folder.mkdir()
            for i, picture in enumerate(pictures):
                picture.save(folder / f"{i}.{kind}")
            geometry = images.Geometry(size, size, 3)
            files = sorted(folder.iterdir())
            decode = functools.partial(_decode, files, geometry)
            kept = store.ImageStore(decode, (len(files), size, size, 3), root / "cache")
            found[f"{kind} files, first epoch"] = _rate(datasets.Split(kept), 200)
        found["files, later epochs, in memory"] = _rate(datasets.Split(kept), 200)
        share, store.MEMORY_SHARE = store.MEMORY_SHARE, 0.0
        on_disk = store.ImageStore(decode, (len(files), size, size, 3), root / "disk")
        store.MEMORY_SHARE = share
        on_disk.fill(range(len(files)), "decoding")
        found["files, later epochs, on disk"] = _rate(datasets.Split(on_disk), 200)
        found["array_record, first epoch"] = _rate(_prepared(root / "tfds", pictures), 200)
    return found


def host_time() -> tuple[float, float]:
    """Seconds per step that the training loop waits for its batch, and that the step takes, of a reduced network."""
    config = cifar10.get_config()
    config.model.nf, config.model.num_res_blocks = 32, 1
    config.training.field_reference = "batch"
    devices, key = Devices.all(), jax.random.key(0)
    state = jax.jit(initializer(config), out_shardings=shardings_of_state(config, devices))(key)
    step = create_step(config, devices)
    stored = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    batches = datasets.step_batches(
        datasets.Split(stored), seed=0, batch_size=4096, rows=4096, start=0, stop=STEPS, place=jax.device_put
    )
    waits, whole = [], []
    for _ in range(STEPS):
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        state, metrics, _ = step(state, key, batch, None, jnp.zeros(1))
        jax.block_until_ready(metrics)
        whole.append(time.perf_counter() - start)
    return float(np.mean(waits[2:])), float(np.mean(whole[2:]))


def main() -> None:
    """Prints a table."""
    print(f"{platform.machine()}, NumPy {np.__version__}, JAX {jax.__version__}")
    columns = {size: rates(size) for size in SIZES}
    print("images/s, one thread".ljust(36) + "".join(f"{size:>4} x {size:<4}" for size in SIZES))
    for source in columns[SIZES[0]]:
        print(source.ljust(36) + "".join(f"{columns[size][source]:>9,.0f}  " for size in SIZES))
    print("a training step of configs/cifar10.py reads 4,096, of celeba.py 512, of lsun_bedroom.py 32 images")
    wait, step = host_time()
    print(f"host time per step of the reduced CIFAR-10 network: {1e3 * wait:.2f} ms of {step:.2f} s, {wait / step:.3%}")


if __name__ == "__main__":
    main()
