"""How near images are to what each should be: PSNR and SSIM."""

import math

import numpy as np
from jaxtyping import Float, Num

# The side of SSIM's window, a Gaussian of standard deviation 1.5 (Wang et al. 2004).
WINDOW, SIGMA = 11, 1.5
# Of equal images, whose ratio is infinite, in decibels.
MOST_DECIBELS = 200.0


def psnr_of_each(
    images: Num[np.ndarray, "n H W C"], targets: Num[np.ndarray, "n H W C"], span: float
) -> Float[np.ndarray, " n"]:
    """Computes the ratio of the squared range of values to the mean squared error of each image, in decibels.

    Args:
      images: what is measured.
      targets: what each should be.
      span: of the values, the highest less the lowest.
    """
    errors = (images.astype(np.float64) - targets.astype(np.float64)).reshape(len(images), -1)
    least = span * 10 ** (-MOST_DECIBELS / 20)
    return 20 * np.log10(span / np.maximum(np.sqrt((errors**2).mean(axis=1)), least))


def psnr(images: Num[np.ndarray, "n H W C"], targets: Num[np.ndarray, "n H W C"], span: float) -> dict[str, float]:
    """Computes the mean of `psnr_of_each`."""
    return {"psnr": float(psnr_of_each(images, targets, span).mean())}


def ssim(images: Num[np.ndarray, "n H W C"], targets: Num[np.ndarray, "n H W C"], span: float) -> dict[str, float]:
    """Computes the mean structural similarity (Wang et al. 2004) by scikit-image; of images with sides of 11 or more.

    For the arguments see `psnr_of_each`.
    """
    if min(images.shape[1:3]) < WINDOW:
        return {}
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": SIGMA, "use_sample_covariance": False}
    of = lambda a, b: structural_similarity(a, b, data_range=span, channel_axis=-1, **options)
    pairs = zip(images.astype(np.float64), targets.astype(np.float64), strict=True)
    return {"ssim": math.fsum(float(np.mean(of(a, b))) for a, b in pairs) / len(images)}
