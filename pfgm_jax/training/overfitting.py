"""Says when a run overfits: when its held-out loss rises while the loss of training examples falls."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from pfgm_jax.reading import parse_line

# The held-out loss has the same perturbations each time, so that few evaluations show a trend, and less than MARGIN is
# what any two of them differ by.
EVALUATIONS, MARGIN = 3, 0.01


class Losses(NamedTuple):
    """Losses of the averaged parameters at a step.

    Attributes:
      step: number of steps taken.
      held_out: mean loss of held-out examples.
      fitted: that of as many training examples.
    """

    step: int
    held_out: float
    fitted: float


class Overfitting:
    """Watches the losses of a run, and says once that it overfits."""

    def __init__(self, before: Iterable[Losses] = ()):
        """Takes note of losses of the run before it resumed."""
        self._seen: list[Losses] = []
        self._said = False
        for losses in before:
            self.warning(losses)

    def warning(self, now: Losses) -> str | None:
        """Takes note of the losses of a step.

        Returns:
          A sentence, the first time that in the last `EVALUATIONS` evaluations the held-out loss was above its lowest,
          and the loss of training examples below what it was at that lowest, each by a share of at least `MARGIN`; else
          None.
        """
        self._seen.append(now)
        best = min(self._seen, key=lambda losses: losses.held_out)
        after = self._seen[self._seen.index(best) + 1 :][-EVALUATIONS:]
        rose = all(losses.held_out - best.held_out > MARGIN * abs(best.held_out) for losses in after)
        fell = all(best.fitted - losses.fitted > MARGIN * abs(best.fitted) for losses in after)
        if self._said or len(after) < EVALUATIONS or not (rose and fell):
            return None
        self._said = True
        return (
            f"The run overfits: since step {best.step} the held-out loss rose from {best.held_out:.4g} to "
            f"{now.held_out:.4g}, and that of training examples fell from {best.fitted:.4g} to {now.fitted:.4g}; "
            "use an earlier checkpoint (training.snapshot_freq keeps more of them), more data, more model.dropout or a "
            "smaller model.nf"
        )


def losses_of_lines(lines: Iterable[bytes]) -> list[Losses]:
    """Returns the losses that lines of metrics.jsonl hold; lines that hold none are left out."""
    found = []
    for line in lines:
        values = parse_line(line)
        numbers: list[Any] = [values.get(name) for name in ("step", "held_out_loss", "fitted_loss")]
        if all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            found.append(Losses(*numbers))
    return found
