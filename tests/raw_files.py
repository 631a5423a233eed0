"""Small data sets in the formats in which their authors publish them."""

import io
import tarfile
import zipfile
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image


def random_images(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """Smooth random images, so that lossy formats keep them nearly as they are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse])


def encoded(image: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def cifar10(manual: Path, per_batch: int = 8) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """cifar-10-binary.tar.gz; returns images and labels of each split."""
    made = {}
    with tarfile.open(manual / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
            rng = np.random.default_rng(i)
            images = rng.integers(0, 256, (per_batch, 32, 32, 3), dtype=np.uint8)
            labels = rng.integers(0, 10, per_batch).astype(np.uint8)
            records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(per_batch, -1)], axis=1)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = records.size
            archive.addfile(member, io.BytesIO(records.tobytes()))
            made[name] = images, labels
    train = [made[f"data_batch_{k}"] for k in range(1, 6)]
    images, labels = zip(*train, strict=True)
    return {"train": (np.concatenate(images), np.concatenate(labels)), "test": made["test_batch"]}


def celeba(manual: Path, count: int = 45) -> dict[str, np.ndarray]:
    """img_align_celeba.zip and list_eval_partition.txt; returns the images of each split, as they are decoded."""
    contents = [encoded(image, "JPEG", quality=95) for image in random_images(1, count, 218, 178)]
    part = np.repeat([0, 1, 2], [count - 10, 5, 5])
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    with zipfile.ZipFile(manual / "img_align_celeba.zip", "w") as archive:
        archive.writestr("img_align_celeba/", "")
        for name, content in zip(names, contents, strict=True):
            archive.writestr(f"img_align_celeba/{name}", content)
    lines = [f"{name} {number}\n" for name, number in zip(names, part, strict=True)]
    (manual / "list_eval_partition.txt").write_text("".join(lines))
    images = np.stack([decoded(content) for content in contents])
    return {"train": images[part == 0], "validation": images[part == 1]}


def lsun(manual: Path, count: int = 40) -> dict[str, list[np.ndarray]]:
    """bedroom_train_lmdb.zip and bedroom_val_lmdb.zip; returns the images of each split, as they are decoded."""
    made = {}
    for seed, (split, name) in enumerate((("train", "bedroom_train_lmdb"), ("validation", "bedroom_val_lmdb"))):
        contents = []
        for i in range(count if split == "train" else 4):
            image = random_images(100 * seed + i, 1, 256, 300 + i)[0]
            contents.append(encoded(image if i % 2 else image.transpose(1, 0, 2), "WEBP", quality=90))
        folder = manual / f"made_{name}"
        with lmdb.open(str(folder), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for i, content in enumerate(contents):
                transaction.put(f"{i:04d}".encode(), content)
        with zipfile.ZipFile(manual / f"{name}.zip", "w") as archive:
            for file in ("data.mdb", "lock.mdb"):
                archive.write(folder / file, f"{name}/{file}")
        made[split] = [decoded(content) for content in contents]
    return made
