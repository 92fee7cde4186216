"""Which trials go on: after a ninth and after a third of the epochs the better third of those that came so far.

This is successive halving in its asynchronous form (Li et al. 2020, arXiv:1810.05934): nobody waits for others, and
what is decided of a trial is a function of the histories alone, so that it is decided again as it was.
"""

import math
from collections.abc import Iterable, Mapping

REDUCTION = 3
"""One of so many goes on."""

Accuracies = Mapping[int, float]
"""On validation, by epoch from 1 on without a gap."""


def rungs(epochs: int) -> list[int]:
    """Return the epochs of a training after which it may be ended."""
    return sorted({math.ceil(epochs / REDUCTION**step) for step in (1, 2)} - {epochs})


def goes_on(own: Accuracies, others: Iterable[Accuracies], epochs: int) -> bool:
    """Return whether a trial goes on after its last epoch; others count that came as far or further.

    Args:
        own: what it has reached.
        others: what the other trials have.
        epochs: that a trial has if it is not ended.
    """
    epoch = max(own)
    if epoch not in rungs(epochs):
        return True
    rivals = [best_until(epoch, other) for other in others if epoch in other]
    ahead = sum(rival > best_until(epoch, own) for rival in rivals)
    return ahead < math.ceil((1 + len(rivals)) / REDUCTION)


def best_until(epoch: int, accuracies: Accuracies) -> float:
    """Return the best accuracy up to an epoch: the weights of that one would be kept."""
    return max(accuracy for number, accuracy in accuracies.items() if number <= epoch)
