"""Says when a run overfits: when its held-out loss rises while the loss of training examples falls."""

import json
from collections.abc import Iterable
from typing import NamedTuple

# The held-out loss has the same perturbations each time, so that few evaluations show a trend.
EVALUATIONS = 3


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
          A sentence, the first time that the held-out loss has been above its lowest for `EVALUATIONS` evaluations, in
          each of which the loss of training examples was below what it was at that lowest; else None.
        """
        self._seen.append(now)
        best = min(self._seen, key=lambda losses: losses.held_out)
        after = self._seen[self._seen.index(best) + 1 :]
        overfits = len(after) >= EVALUATIONS and all(losses.fitted < best.fitted for losses in after)
        if self._said or not overfits:
            return None
        self._said = True
        return (
            f"The run overfits: since step {best.step} the held-out loss rose from {best.held_out:.4g} to "
            f"{now.held_out:.4g}, and that of training examples fell from {best.fitted:.4g} to {now.fitted:.4g}; take "
            "an earlier checkpoint, or give the model more data, more dropout or fewer parameters"
        )


def losses_of_lines(lines: Iterable[bytes]) -> list[Losses]:
    """Returns the losses that lines of metrics.jsonl hold."""
    found = (json.loads(line) for line in lines)
    names = ("step", "held_out_loss", "fitted_loss")
    return [Losses(*(line[name] for name in names)) for line in found if all(name in line for name in names)]
