#!/usr/bin/env python3
"""Checks of metrics.py against values worked out by hand, and against the definitions."""

import math
import sys

sys.dont_write_bytecode = True
import numpy as np

from metrics import auprc, auroc, fit_temperature, mcc, measure, softmax


def close(a, b, tolerance=1e-12):
    assert abs(a - b) <= tolerance, (a, b)


def test_two_classes():
    p1 = np.array([0.9, 0.8, 0.7, 0.6, 0.2])
    y = np.array([1, 0, 1, 1, 0])
    m = measure(np.stack([1 - p1, p1], 1), y)
    close(m["accuracy"], 0.8)
    close(m["auroc"], 4 / 6)  # 0.7 and 0.6 lie below the negative 0.8
    close(m["auprc"], (1 + 2 / 3 + 3 / 4) / 3)
    close(m["mcc"], (3 * 1 - 1 * 0) / math.sqrt(4 * 3 * 2 * 1))
    close(m["brier"], (0.01 + 0.64 + 0.09 + 0.16 + 0.04) / 5)
    close(m["log_loss"], -sum(map(math.log, (0.9, 0.2, 0.7, 0.6, 0.8))) / 5)
    # Bins 0.6: 1 right; 0.7: 1 right; 0.8: one right (the last example), one wrong; 0.9: 1 right.
    close(m["ece"], (0.4 + 0.3 + 2 * abs(0.8 - 0.5) + 0.1) / 5, 1e-9)


def test_ties():
    close(auroc([1, 1, 1, 1], [1, 0, 1, 0]), 0.5)
    close(auroc([2, 1, 1, 0], [1, 1, 0, 0]), (2 + 1.5) / 4)
    close(auprc([1, 1, 1, 1], [1, 0, 0, 0]), 0.25)
    close(auprc([3, 2, 2, 1], [1, 1, 0, 0]), (1 + 2 / 3) / 2)
    close(auprc([3, 2, 1], [0, 0, 1]), 1 / 3)
    assert math.isnan(auroc([1, 2], [1, 1]))
    assert math.isnan(auprc([1, 2], [0, 0]))


def test_against_definition():
    rng = np.random.RandomState(1)
    score, y = rng.randint(0, 12, 80), rng.rand(80) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[y] for b in score[~y]]
    close(auroc(score, y), float(np.mean(pairs)))
    total, before = 0.0, 0.0
    for t in sorted(set(score), reverse=True):
        recall = (y & (score >= t)).sum() / y.sum()
        total += (recall - before) * (y & (score >= t)).sum() / (score >= t).sum()
        before = recall
    close(auprc(score, y), total)


def test_three_classes():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    y = np.array([0, 1, 2, 2])
    m = measure(p, y)
    close(m["accuracy"], 0.75)
    close(m["auroc"], np.mean([1.0, 1.0, (1 + 1 + 1 + 0.5) / 4]))
    close(m["auprc"], np.mean([1.0, 1.0, (1 + 2 / 3) / 2]))
    close(m["brier"], (0.14 + 0.26 + 0.78 + 0.54) / 4)
    # Gorodkin: right 3 of 4; truth 1 1 2, guessed 1 2 1.
    close(m["mcc"], (3 * 4 - (1 + 2 + 2)) / math.sqrt((16 - 6) * (16 - 6)))
    close(mcc(y, y, 3), 1.0)
    close(mcc(np.array([0, 1]), np.array([0, 0]), 2), 0.0)


def test_temperature():
    rng = np.random.RandomState(2)
    z = rng.randn(20000, 3) * 2
    p = softmax(z)
    y = (p.cumsum(1) > rng.rand(len(p), 1)).argmax(1)
    assert abs(fit_temperature(z, y) - 1) < 0.05
    close(fit_temperature(3 * z, y), 3 * fit_temperature(z, y), 1e-4)


def main():
    tests = [f for name, f in sorted(globals().items()) if name.startswith("test_")]
    for test in tests:
        test()
    print("%d passed" % len(tests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
