"""Progress bars on the terminal of the first process."""

from tqdm import tqdm

from pfgm_jax import sharding


def progress_bar(total: int, unit: str, initial: int = 0) -> tqdm:
    """Creates a progress bar, which only the first process shows."""
    return tqdm(total=total, unit=unit, initial=initial, dynamic_ncols=True, disable=not sharding.is_first())
