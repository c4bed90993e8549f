"""Measures what a megapixel of each kind of work takes, and writes the weights that costs are reckoned with.

    make costs

Two thousand renditions are measured, in CPU time, and the weights are those that come nearest to all of them (least
squares of the logarithm of reckoned by measured, none below zero). What they are not fitted to tells how well they
hold.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

os.environ["VIPS_CONCURRENCY"] = "1"

import numpy
import pyvips
from scipy.optimize import least_squares, nnls
from scipy.stats import spearmanr
from tests.costs import Sample, at_random, files, one_by_one

from progimage.engine import EngineError, Limits, build_pyramid, inspect_upload
from progimage.engine.cost import Units, rendition_units

WEIGHTS = Path(__file__).parents[1] / "src" / "progimage" / "engine" / "cost_weights.json"
_LEAST = 0.0015
"""Seconds; what takes less is as good as this."""
_SHORT = 2.5
"""What is reckoned too low counts so many times as much as what is reckoned too high."""
_TINY = 1e-6
_MARGIN = 1.25
"""What is reckoned is so many times what is measured, since too little does more harm than too much."""


def measured(samples: list[Sample], target: Path) -> tuple[list[Units], list[float]]:
    """Return the units and the seconds of requests; what can't be rendered is left out."""
    units, seconds = [], []
    for number, sample in enumerate(samples):
        try:
            taken = sample.seconds(target)
            if taken < 0.2:
                taken = min(taken, sample.seconds(target, 2))
        except EngineError as error:
            print(f"{sample.path.name} {sample.spec.canonical()}: {error}")
            continue
        units.append(rendition_units(sample.facts, sample.spec))
        seconds.append(max(_LEAST, taken))
        if number % 200 == 0:
            print(f"{number} of {len(samples)}", flush=True)
    return units, seconds


def fitted(units: list[Units], seconds: list[float]) -> dict[str, float]:
    """Return the weights that come nearest to what was measured; to reckon too little counts more than too much."""
    names = sorted({name for one in units for name in one})
    rows = numpy.array(
        [[one.get(name, 0.0) / taken for name in names] for one, taken in zip(units, seconds, strict=True)]
    )
    begin, _ = nnls(rows, numpy.ones(len(seconds)), maxiter=100 * len(names))
    scale = 1 / rows.max(axis=0)  # so that all unknowns are of one size
    rows = rows * scale

    def misses(weights: numpy.ndarray) -> numpy.ndarray:
        ratios = numpy.log(numpy.maximum(rows @ weights, _TINY))
        return numpy.where(ratios < 0, ratios * _SHORT, ratios)

    def slopes(weights: numpy.ndarray) -> numpy.ndarray:
        reckoned = numpy.maximum(rows @ weights, _TINY)
        return rows * (numpy.where(reckoned < 1, _SHORT, 1) / reckoned)[:, None]

    found = least_squares(misses, numpy.maximum(begin / scale, 0.001), slopes, bounds=(0, numpy.inf), max_nfev=300)
    weights = found.x * scale * _MARGIN
    return {name: float(f"{weight:.4g}") for name, weight in zip(names, weights, strict=True)}


def judged(units: list[Units], seconds: list[float], weights: dict[str, float]) -> None:
    """Print how well weights hold for requests that they were not fitted to."""
    reckoned = [sum(amount * weights.get(name, 0) for name, amount in one.items()) for one in units]
    ratios = sorted(taken / max(_LEAST, cost) for taken, cost in zip(seconds, reckoned, strict=True))
    print(
        f"rank correlation {spearmanr(reckoned, seconds).statistic:.3f}; measured / reckoned: median"
        f" {statistics.median(ratios):.2f}, worst {ratios[-1]:.2f}, least {ratios[0]:.2f}"
    )


def others(images: Iterable[Path], target: Path, weights: dict[str, float]) -> dict[str, float]:
    """Return the weights of what is no rendition: validating an upload, and making a pyramid."""
    path = next(path for path in images if path.name == "3000.JPEG")
    found = {}
    for name, work in (
        ("inspection", lambda: inspect_upload(path, Limits(), {1024: target, 512: target.with_suffix(".2")})),
        ("pyramid", lambda: build_pyramid(path, target, False, Limits())),
    ):
        taken = []
        for _ in range(3):
            started = time.process_time()
            work()
            taken.append(time.process_time() - started)
        found[name] = float(f"{max(0.0, min(taken) / 6 - weights['read JPEG']):.4g}")
    found["read other"] = statistics.mean(weight for name, weight in weights.items() if name.startswith("read "))
    return found


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="at random, beside those that differ in one thing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    pyvips.cache_set_max(0)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "target"
        images = files(Path(folder))
        single = list(one_by_one(images))
        random.Random(options.seed).shuffle(single)
        units, seconds = measured(single + list(at_random(options.seed, options.requests, images)), target)
        weights = fitted(units, seconds)
        weights |= others(images, target, weights)
        judged(*measured(list(at_random(options.seed + 1, 200, images)), target), weights)
    for name, weight in sorted(weights.items()):
        print(f"{weight:10.4g}  {name}")
    if options.write:
        told = {"machine": platform.processor() or platform.machine(), "weights": weights}
        WEIGHTS.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
