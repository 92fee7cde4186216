"""Simulate how often tests of pairs find a difference between equal configurations.

    python benchmarks/false_positives.py                      # about a quarter of an hour on one core
    python benchmarks/false_positives.py --repetitions 200

A logit model decides at random whether a network classifies a test image correctly. Its effects are the difficulty of
the image, how well the configuration suits the image, the quality of the seed, and chance. Seeds and images are crossed
random effects: all seeds classify the same images. All configurations have the same expected accuracy, so every
significant difference is a false positive. The script prints two Markdown tables for each scenario:

1. The percentage of comparisons with any false positive after Holm's correction, with 2, 3, 5 and 10 configurations.
   Also the coverage of the 95 % interval of one pair, and half its mean width in points, with 3 and 20 seeds.
2. The same percentage for a check of one run, the model in use, against the mean of new runs of its configuration.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.floating[Any]]
Half = Callable[[Array], Array]
"""Function from the level of an interval to half its width, (repetitions,)."""

GROUPS, SEEDS, IMAGES = (2, 3, 5, 10), (3, 5, 10, 20), 2_000
PAIRS = list(combinations(range(max(GROUPS)), 2))
DIFFICULTY = 3  # standard deviation of the difficulty of images, in logits
CHUNK = 20  # repetitions that are computed together
RESAMPLES = 1_000  # of the bootstrap, which is computed only for two and three configurations
ALPHA = 0.05


@dataclass(frozen=True)
class Scenario:
    """Standard deviations of the random effects in logits.

    Args:
        seed: effect of the seed in every other configuration, from the first.
        other: effect of the seed in the other configurations.
        shared: effect of the seed that all configurations share, such as a lucky order of the images.
        suitability: effect of how well a configuration suits an image.
    """

    seed: float
    other: float
    shared: float = 0.0
    suitability: float = 1.0


SCENARIOS = {
    "like MNIST": Scenario(seed=0.1, other=0.1),
    "unstable training": Scenario(seed=0.5, other=0.5),
    "unequal stability": Scenario(seed=0.7, other=0.1),
    "seeds with a common part": Scenario(seed=0.1, other=0.1, shared=0.3),
}


def answers(scenario: Scenario, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return 1 for a correct answer and 0 for a wrong one, (CHUNK, groups, seeds, IMAGES); about 96 % are correct."""
    groups, seeds = max(GROUPS), max(SEEDS)
    spread = np.resize([scenario.seed, scenario.other], groups).astype(np.float32)[:, None, None]

    def effect(*shape: int) -> npt.NDArray[np.float32]:
        return random.standard_normal((CHUNK, *shape), dtype=np.float32)

    # Variance lowers the mean accuracy of a logit model; a larger mean, by the probit approximation, corrects this.
    others = DIFFICULTY**2 + scenario.suitability**2 + scenario.shared**2
    mean = 6.5 * np.sqrt((1 + np.pi / 8 * (others + spread**2)) / (1 + np.pi / 8 * others))
    logits = mean + DIFFICULTY * effect(1, 1, IMAGES) + scenario.suitability * effect(groups, 1, IMAGES)
    logits = logits + spread * effect(groups, seeds, 1) + scenario.shared * effect(1, seeds, 1)
    chance = random.random((CHUNK, groups, seeds, IMAGES), dtype=np.float32)
    is_right: npt.NDArray[np.bool_] = chance < special.expit(logits)
    return is_right.astype(np.float32)


@dataclass(frozen=True)
class Parts:
    """Variances of mean differences, (repetitions,) each: over seeds, over images, and their interaction."""

    over_seeds: Array
    over_images: Array
    interaction: Array
    freedom: int

    @classmethod
    def of(cls, values: Array) -> "Parts":
        """Return the variances of values by seed and image, (repetitions, S, IMAGES)."""
        seeds = values.shape[1]
        by_seed, by_image = values.mean(axis=2), values.mean(axis=1)
        squares = (values**2).sum(axis=(1, 2)) + seeds * IMAGES * by_seed.mean(axis=1) ** 2
        squares -= IMAGES * (by_seed**2).sum(axis=1) + seeds * (by_image**2).sum(axis=1)
        return cls(
            over_seeds=by_seed.var(axis=1, ddof=1) / seeds,
            over_images=by_image.var(axis=1, ddof=1) / IMAGES,
            interaction=squares / ((seeds - 1) * (IMAGES - 1)) / (seeds * IMAGES),
            freedom=seeds - 1,
        )


# --- rules ----------------------------------------------------------------------------------------------------------


def quantile(freedom: Any, level: Array) -> Array:
    """Return the t quantile of a two-sided interval."""
    return -np.asarray(special.stdtrit(freedom, level / 2))


def both(of: Parts) -> Half:
    """Return the larger half-width: the interval over seeds and the interval over images must both exclude zero."""
    return lambda level: np.maximum(
        quantile(of.freedom, level) * np.sqrt(of.over_seeds), quantile(IMAGES - 1, level) * np.sqrt(of.over_images)
    )


def squares(of: Parts) -> Half:
    """Return √(h² over seeds + h² over images)."""
    return lambda level: np.hypot(
        quantile(of.freedom, level) * np.sqrt(of.over_seeds), quantile(IMAGES - 1, level) * np.sqrt(of.over_images)
    )


def components(of: Parts) -> Half:
    """Return the half-width from variance components, with degrees of freedom by Satterthwaite."""
    total = of.over_images + np.maximum(of.over_seeds - of.interaction, 0)
    with np.errstate(divide="ignore"):
        freedom = total**2 / (of.over_seeds**2 / of.freedom)
    return lambda level: quantile(freedom, level) * np.sqrt(total)


def split(of: Parts) -> Half:
    """Return √(h² over seeds + h² over images without the interaction), the rule of this project."""
    images = np.maximum(of.over_images - of.interaction, 0)
    return lambda level: np.hypot(
        quantile(of.freedom, level) * np.sqrt(of.over_seeds), quantile(IMAGES - 1, level) * np.sqrt(images)
    )


RULES: dict[str, Callable[[Parts], Half]] = {
    "both intervals": both,
    "√(h² + h²)": squares,
    "components, Satterthwaite": components,
    "**split**": split,
}
BOOTSTRAP = "two-way bootstrap"


def p_value(difference: Array, half: Half) -> Array:
    """Return the levels at which the intervals just reach zero, (repetitions,), by bisection."""
    low, high = np.full_like(difference, -16.0), np.zeros_like(difference)  # exponents of ten
    for _ in range(35):
        middle = (low + high) / 2
        is_wider = half(10**middle) > np.abs(difference)
        low, high = np.where(is_wider, middle, low), np.where(is_wider, high, middle)
    return np.asarray(10**high)


class Bootstrap:
    """A bootstrap that draws seeds and images at the same time, with replacement; its intervals are percentiles."""

    def __init__(self, random: np.random.Generator) -> None:
        self._images = random.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), RESAMPLES).astype(np.float32) / IMAGES
        self._seeds = {
            seeds: random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES).astype(np.float32) / seeds
            for seeds in SEEDS
        }

    def __call__(self, values: Array) -> tuple[Array, Array, Array]:
        """Return the p-values and the ends of the 95 % intervals, (repetitions,) each."""
        by_seed = values @ self._images.T  # (repetitions, S, RESAMPLES)
        means = np.einsum("rsb,bs->rb", by_seed, self._seeds[values.shape[1]])
        p_values = 2 * np.minimum((means <= 0).mean(axis=1), (means >= 0).mean(axis=1))
        low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
        return p_values, low, high


def check(new: Array, one: Array) -> dict[str, Array]:
    """Return the p-values of one run, (repetitions, IMAGES), against the mean of new runs, (repetitions, S, IMAGES)."""
    votes = new.mean(axis=1) - one
    difference, of, runs = votes.mean(axis=1), Parts.of(new), new.shape[1] + 1
    over_images = votes.var(axis=1, ddof=1) / IMAGES
    borrowed = Parts(of.over_seeds * runs, over_images, of.interaction * runs, of.freedom)
    images_alone = Parts(np.zeros_like(over_images), over_images, np.zeros_like(over_images), of.freedom)
    rules = {"images alone": both(images_alone), "√(h² + h²)": squares(borrowed), "**split**": split(borrowed)}
    return {name: p_value(difference, half) for name, half in rules.items()}


# --- tables ---------------------------------------------------------------------------------------------------------


class Found:
    """Results by rule and number of seeds; the lists have an array for each chunk."""

    def __init__(self) -> None:
        self.p_values = defaultdict[tuple[str, int], list[Array]](list)  # (pairs, CHUNK) each
        self.covered = defaultdict[tuple[str, int], list[Any]](list)
        self.halves = defaultdict[tuple[str, int], list[Any]](list)
        self.checks = defaultdict[tuple[str, int], list[Array]](list)

    def add(self, right: Array, bootstrap: Bootstrap) -> None:
        """Add a chunk of repetitions."""
        for seeds in SEEDS:
            chunk = defaultdict[str, list[Array]](list)
            for first, second in PAIRS:
                values = (right[:, first, :seeds] - right[:, second, :seeds]).astype(np.float64)
                difference, parts = values.mean(axis=(1, 2)), Parts.of(values)
                for name, rule in RULES.items():
                    half = rule(parts)
                    chunk[name].append(p_value(difference, half))
                    width = half(np.full_like(difference, ALPHA))
                    self.covered[name, seeds].append(np.mean(np.abs(difference) <= width))
                    self.halves[name, seeds].append(width.mean())
                if second < 3:  # noqa: PLR2004 - see RESAMPLES
                    p_values, low, high = bootstrap(values)
                    chunk[BOOTSTRAP].append(p_values)
                    self.covered[BOOTSTRAP, seeds].append(np.mean((low <= 0) & (high >= 0)))
                    self.halves[BOOTSTRAP, seeds].append((high - low).mean() / 2)
            for name, each in chunk.items():
                self.p_values[name, seeds].append(np.array(each))
            if seeds < max(SEEDS):
                for name, p_values in check(right[:, 0, :seeds].astype(float), right[:, 0, -1]).items():
                    self.checks[name, seeds].append(p_values)

    def family_wise(self, name: str, seeds: int) -> str:
        """Return the percentages with any false positive after Holm, by the number of groups: '4.8 4.3 4.1 2.9'."""
        p_values = np.concatenate(self.p_values[name, seeds], axis=1)
        pairs = [pair for pair in PAIRS if name != BOOTSTRAP or max(pair) < 3]  # noqa: PLR2004
        counts = [groups for groups in GROUPS if groups <= max(map(max, pairs)) + 1]
        rates = []
        for groups in counts:
            family = p_values[[number for number, pair in enumerate(pairs) if max(pair) < groups]]
            rates.append(np.mean(family.min(axis=0) < ALPHA / len(family)))
        return " ".join(f"{100 * rate:.1f}" for rate in rates)

    def tables(self) -> Iterable[str]:
        """Yield the lines of both tables."""
        yield f"| rule | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} | coverage | half width |"
        yield "| --- " * (len(SEEDS) + 3) + "|"
        ends = min(SEEDS), max(SEEDS)
        for name in (BOOTSTRAP, *RULES):
            cells = [self.family_wise(name, seeds) for seeds in SEEDS]
            cells += [", ".join(f"{100 * np.mean(self.covered[name, seeds]):.1f}" for seeds in ends)]
            cells += [", ".join(f"{100 * np.mean(self.halves[name, seeds]):.2f}" for seeds in ends)]
            yield f"| {name} | {' | '.join(cells)} |"
        yield f"\n| one run checked against | {' | '.join(f'{seeds} seeds' for seeds in SEEDS[:-1])} |"
        yield "| --- " * len(SEEDS) + "|"
        for name in dict.fromkeys(name for name, _ in self.checks):
            rates = [np.mean(np.concatenate(self.checks[name, seeds]) < ALPHA) for seeds in SEEDS[:-1]]
            yield f"| {name} | {' | '.join(f'{100 * rate:.1f}' for rate in rates)} |"


def main() -> None:
    """Simulate the scenarios and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2_000, help="number of comparisons; default: 2,000")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers; default: 1")
    arguments = parser.parse_args()
    for name, scenario in SCENARIOS.items():
        random = np.random.default_rng(arguments.seed)
        found, bootstrap = Found(), Bootstrap(random)
        deviation = []
        for _ in range(arguments.repetitions // CHUNK):
            right = answers(scenario, random)
            found.add(right, bootstrap)
            deviation.append(right[:, 0].mean(axis=2).std(axis=1, ddof=1).mean())
        print(f"\n{name} (standard deviation over seeds {100 * np.mean(deviation):.2f} points)\n", flush=True)
        print("\n".join(found.tables()), flush=True)


if __name__ == "__main__":
    main()
