"""The feature network and FID beside pytorch-fid's: images/s, seconds, agreement.

    python -m benchmarks.inception [--torch PYTHON] [--images 32] [--batch_size 16] [--count 10000]

PYTHON is an interpreter of an environment with torch, torchvision and pytorch-fid, which nothing else here needs;
without it only our side is measured. Both get the same random weights and the same 32 x 32 images, resize them to
299 x 299 as pytorch-fid does, and use all cores. Each is measured in a process of its own, in turn and twice over,
after a batch to warm up. FID is then taken of features of `--count` images against statistics, and the time of the
whole is estimated from both; `--images 10000` measures it.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM = 2048
WEIGHTS, OUTPUT = "weights.npz", "features.npy"


def make_weights() -> dict[str, np.ndarray]:
    """Random tensors with PyTorch's names, which keep the scale of what passes through them."""
    from pfgm_jax.metrics import weights

    random = np.random.default_rng(0)
    tensors = {"fc.weight": random.normal(0, 0.02, (1008, DIM)), "fc.bias": np.zeros(1008)}

    def convolutions(tree, prefix=""):
        for name, part in tree.items():
            if name in ("fc", "fc_bias"):
                continue
            if "kernel" not in part:
                convolutions(part, f"{prefix}{name}.")
                continue
            height, width, inputs, outputs = part["kernel"].shape
            scale = np.sqrt(2 / (height * width * inputs))
            tensors[f"{prefix}{name}.conv.weight"] = random.normal(0, scale, (outputs, inputs, height, width))
            for kind, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                tensors[f"{prefix}{name}.bn.{kind}"] = np.full(outputs, value)

    convolutions(weights.parameter_shapes())
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def make_images(count: int) -> np.ndarray:
    """Random images, uint8 [count, 32, 32, 3]."""
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def make_features(count: int) -> np.ndarray:
    """Positive features whose standard deviations differ as those of the real network do, float32 [count, 2048]."""
    random = np.random.default_rng(2)
    scale = 0.3 * np.exp(random.normal(size=DIM))
    return np.maximum(random.normal(size=(count, DIM)) * scale, 0).astype(np.float32)


def our_network(folder: Path, batch_size: int):
    """Features of images by ours."""
    from pfgm_jax.metrics import InceptionExtractor, weights

    params = weights.convert_weights(dict(np.load(folder / WEIGHTS)), folder / WEIGHTS)
    extractor = InceptionExtractor(params, "", front_end="pytorch-fid", batch_size=batch_size)
    return lambda images: extractor(images).features


def their_network(folder: Path, batch_size: int):
    """Features of images by pytorch-fid."""
    import torch  # type: ignore[import-not-found]
    from pytorch_fid import inception  # type: ignore[import-not-found]

    tensors = {name: torch.from_numpy(tensor) for name, tensor in np.load(folder / WEIGHTS).items()}
    for name in [name for name in tensors if name.endswith("running_var")]:
        tensors[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    inception.load_state_dict_from_url = lambda *_, **__: tensors  # in the place of its download
    network = inception.InceptionV3().eval()

    @torch.no_grad()
    def features(images):
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255
        return np.concatenate([network(part)[0][:, :, 0, 0].numpy() for part in x.split(batch_size)])

    return features


def our_fid(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """FID by ours."""
    from pfgm_jax.metrics import Features, Statistics, evaluate

    return evaluate(Features(features, None), Statistics(mean, covariance, 0))["fid"]


def their_fid(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """FID by pytorch-fid."""
    from pytorch_fid.fid_score import calculate_frechet_distance  # type: ignore[import-not-found]

    x = features.astype(np.float64)
    return float(calculate_frechet_distance(x.mean(axis=0), np.cov(x, rowvar=False), mean, covariance))


SIDES = {"ours": (our_network, our_fid), "theirs": (their_network, their_fid)}


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """What one process measures; leaves its features in a file."""
    network_of, fid = SIDES[arguments.side]
    if arguments.what == "fid":
        mean, covariance = np.zeros(DIM) + 0.1, np.diag(np.linspace(0.01, 1, DIM))
        features = make_features(arguments.count)
        start = time.perf_counter()
        return {"fid": fid(features, mean, covariance), "seconds": time.perf_counter() - start}
    network = network_of(arguments.folder, arguments.batch_size)
    images = make_images(arguments.images)
    network(images[: arguments.batch_size])
    start = time.perf_counter()
    features = network(images)
    seconds = time.perf_counter() - start
    np.save(arguments.folder / f"{arguments.side}-{OUTPUT}", features)
    return {"seconds": seconds}


def run_in_process(side: str, what: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """What a process of a side measures."""
    python = [sys.executable, "-m", "benchmarks.inception"]
    if side == "theirs":
        python = [arguments.torch, "-W", "ignore", __file__]
    options = {name: getattr(arguments, name) for name in ("images", "batch_size", "count")}
    command = [*python, "--side", side, "--what", what, "--folder", str(folder)]
    command += [f"--{name}={value}" for name, value in options.items()]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def report(arguments: argparse.Namespace) -> None:
    """Measures and prints."""
    sides = ("ours", "theirs") if arguments.torch else ("ours",)
    rate: dict[str, float] = {}
    print(f"{platform.processor() or platform.machine()}, NumPy {np.__version__}, batches of {arguments.batch_size}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays: Any = make_weights()
        np.savez(folder / WEIGHTS, **arrays)
        for turn in range(2):
            for side in sides:
                found = arguments.images / run_in_process(side, "network", folder, arguments)["seconds"]
                rate[side] = max(found, rate.get(side, 0))
                print(f"turn {turn + 1}, {side}: {found:.3g} images/s")
        features = {side: np.load(folder / f"{side}-{OUTPUT}").astype(np.float64) for side in sides}
        fid = {side: run_in_process(side, "fid", folder, arguments) for side in sides}
    for side in sides:
        whole = arguments.count / rate[side] + fid[side]["seconds"]
        print(
            f"{side}: {rate[side]:.3g} images/s; distance of {arguments.count} features {fid[side]['seconds']:.3g} s; "
            f"FID of {arguments.count} images against statistics about {whole:.0f} s"
        )
    if len(sides) == 2:
        ours, theirs = features["ours"], features["theirs"]
        error = (np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max()
        print(f"images/s, ours / theirs: {rate['ours'] / rate['theirs']:.2f}")
        print(f"seconds of the distance, theirs / ours: {fid['theirs']['seconds'] / fid['ours']['seconds']:.2f}")
        print(f"largest relative difference of an image's features: {error:.1e}")
        print(f"relative difference of FID: {abs(fid['ours']['fid'] / fid['theirs']['fid'] - 1):.1e}")


def main():
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", default="")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--what", choices=("network", "fid"))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments)))
    else:
        report(arguments)


if __name__ == "__main__":
    main()
