"""A real volume with units: a head CT in Hounsfield units, learned on patches, and cleaned of noise.

    python -m benchmarks.ct [--package invesalius-examples.deb] [--folder runs/ct] [--pictures docs] [--noise 100]

The volume is that of Debian's invesalius-examples (see head_ct.py), int16 from -1024 to 2986. 12 of its slices are held
out, with two between them and those that are learned. First PFGM learns 64 x 64 patches of the slices; 64 samples are
drawn, and must be integers within the range of the data. Then PFGM++ (D = 128) learns the patches given the same
patches with normal noise; each tile of the held-out slices is cleaned, by one sample and by the mean of 4, and PSNR and
SSIM, over the range of the data, say how near they come, beside the noisy tiles. Says how long training took.
"""

import argparse
import json
from pathlib import Path

import ml_collections
import numpy as np

import pfgm_jax
import run_lib
from benchmarks import head_ct
from pfgm_jax import config_files, metrics, pictures
from pfgm_jax.commands import command_line

HELD_OUT, MARGIN = range(45, 57), 2
# Slices from here on show little of the head.
SLICES = 97
SIDE, MEAN_OF = 64, 4
WINDOW = (-1000.0, 1500.0)


def tiles(slices: np.ndarray) -> np.ndarray:
    """Cuts slices [n, 256, 256, 1] into tiles [16 n, 64, 64, 1]."""
    n, height, width, _ = slices.shape
    parts = slices.reshape(n, height // SIDE, SIDE, width // SIDE, SIDE, 1)
    return parts.transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, 1)


def config_of(path: Path, steps: int) -> ml_collections.ConfigDict:
    """A small U-Net for patches of the arrays in a file."""
    config = config_files.load_experiment("digits")
    config.update_from_flattened_dict(
        {
            "data.dataset": f"arrays:{path}",
            "data.crop": SIDE,
            "data.uniform_dequantization": False,
            "training.n_iters": steps,
            "training.batch_size": 64,
            "training.small_batch_size": 8,
            "training.snapshot_freq": steps,
            "training.snapshot_freq_for_preemption": 500,
            "training.eval_freq": 500,
            "training.snapshot_sampling": False,
            "model.nf": 16,
            "model.ch_mult": (1, 2, 2),
            "model.num_res_blocks": 1,
            "model.attn_resolutions": (),
            "model.ema_rate": 0.999,
            "sampling.batch_size": 64,
            "eval.window": WINDOW,
        }
    )
    return config


def seconds_of_training(workdir: Path) -> float:
    """How long the steps of a run took, interruptions left out."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = np.diff([0, *(line["step"] for line in lines)])
    return float(sum(n / line["steps_per_second"] for n, line in zip(steps, lines, strict=True)))


def learn_patches(folder: Path, path: Path, steps: int, shown: Path) -> None:
    """Trains PFGM on patches, and looks at samples."""
    config = config_of(path, steps)
    run_lib.train(config, folder / "patches")
    seconds = seconds_of_training(folder / "patches")
    model = pfgm_jax.load(folder / "patches", None, **{"sampling.rtol": 1e-2, "sampling.atol": 1e-2})
    samples = model.sample(64, seed=0)
    lowest, levels = model.config.data.lowest, model.config.data.levels
    assert samples.dtype == np.int16 and samples.min() >= lowest and samples.max() < lowest + levels
    grid = pictures.image_grid(pictures.to_pixels(samples, WINDOW))
    pictures.save_picture(shown / "ct_samples.png", grid)
    train = np.load(path)["x"]
    of = lambda name, a: print(f"{name:10}" + "".join(f"{v:9.0f}" for v in np.quantile(a, (0, 0.05, 0.5, 0.95, 1))))
    print(f"PFGM on {SIDE} x {SIDE} patches: {steps} steps in {seconds:.0f} s; quantiles 0, .05, .5, .95, 1 in HU")
    of("slices", train)
    of("samples", samples)


def clean(folder: Path, path: Path, steps: int, noise: float, shown: Path) -> None:
    """Trains PFGM++ on pairs, and cleans the held-out slices."""
    config = config_of(path, steps)
    config.update_from_flattened_dict(
        {"training.sde": "pfgmpp", "pfgmpp.D": 128.0, "sampling.ode_solver": "heun", "sampling.N": 9}
    )
    run_lib.train(config, folder / "denoising")
    seconds = seconds_of_training(folder / "denoising")
    model = pfgm_jax.load(folder / "denoising")
    held = np.load(path)
    target, noisy = tiles(held["x_test"]), tiles(held["cond_test"])
    drawn = [model.sample(cond=noisy, seed=seed) for seed in range(MEAN_OF)]
    span = model.config.data.levels - 1.0
    print(f"\nPFGM++ given patches with noise of {noise:g} HU: {steps} steps in {seconds:.0f} s; {len(target)} tiles")
    print(f"{'':20}{'PSNR':>8}{'SSIM':>8}")
    rows = {"noisy": noisy, "one sample": drawn[0], f"mean of {MEAN_OF}": np.mean(drawn, axis=0)}
    for name, images in rows.items():
        found = metrics.evaluate_paired(images, target, span)
        print(f"{name:20}{found['psnr']:8.2f}{found['ssim']:8.4f}")
    some = np.arange(5, len(target), 16)[:8]
    beside = np.concatenate([np.stack([images[i] for i in some]) for images in (*rows.values(), target)])
    grid = pictures.image_grid(pictures.to_pixels(beside, (-200.0, 300.0)), columns=len(some))
    pictures.save_picture(shown / "ct_denoising.png", grid)


def main() -> None:
    """Writes the arrays, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="the .deb; by default what is installed")
    parser.add_argument("--folder", type=Path, default=Path("runs/ct"))
    parser.add_argument("--pictures", type=Path, default=Path("docs"))
    parser.add_argument("--noise", type=float, default=100.0, help="standard deviation, in Hounsfield units")
    parser.add_argument("--steps", type=int, nargs=2, default=[1500, 1500], help="of PFGM, and of PFGM++")
    arguments = parser.parse_args()
    command_line.set_up_logging()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    volume, _ = head_ct.volume(arguments.package)
    slices = volume[:SLICES, ::-1, :, None]
    near = range(HELD_OUT.start - MARGIN, HELD_OUT.stop + MARGIN)
    learned = slices[[i for i in range(SLICES) if i not in near]]
    held = slices[list(HELD_OUT)]
    rng = np.random.default_rng(0)
    # Many noisy versions of each slice, so that none is learned by heart.
    repeated = np.repeat(learned, 8, axis=0)
    noisy = lambda x: (x + rng.normal(0, arguments.noise, x.shape)).astype(np.float32)
    np.savez(arguments.folder / "slices.npz", x=learned, x_test=held)
    pairs = {"x": repeated, "cond": noisy(repeated), "x_test": held, "cond_test": noisy(held)}
    np.savez(arguments.folder / "pairs.npz", **pairs)
    learn_patches(arguments.folder, arguments.folder / "slices.npz", arguments.steps[0], arguments.pictures)
    clean(arguments.folder, arguments.folder / "pairs.npz", arguments.steps[1], arguments.noise, arguments.pictures)


if __name__ == "__main__":
    main()
