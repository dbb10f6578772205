"""How good class probabilities are: NumPy only, ties handled.

Conventions (those of crocuta's own figures):

  accuracy  likeliest class; of equal ones the first
  auroc     of class 1 when there are two, else the mean of one-vs-rest over the classes that
            occur; ties count half; NaN when a side is empty
  auprc     average precision: precision at each distinct threshold, weighted by the recall it adds
  mcc       Matthews; Gorodkin's for several classes; 0 when undefined
  brier     two classes: mean of (p1 - y)^2; else the mean over examples of the sum over classes
  ece       expected calibration error of the likeliest class's probability, 10 bins of 0.1
"""

import math

import numpy as np

BINS = 10


def auroc(score, positive):
    """Chance that a positive scores above a negative; a tie counts half."""
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    n1 = int(positive.sum())
    n0 = len(positive) - n1
    if n0 == 0 or n1 == 0:
        return float("nan")
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    rank = (last - (size - 1) / 2.0)[group]  # 1-based, equal scores share their mean rank
    return float((rank[positive].sum() - n1 * (n1 + 1) / 2.0) / (n0 * n1))


def auprc(score, positive):
    """Average precision; equal scores pass the threshold together."""
    score, positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not positive.any():
        return float("nan")
    _, group = np.unique(-score, return_inverse=True)  # group 0 has the highest score
    hits = np.cumsum(np.bincount(group, weights=positive))
    taken = np.cumsum(np.bincount(group))
    gained = np.diff(np.concatenate([[0.0], hits]))
    return float((gained * hits / taken).sum() / hits[-1])


def mcc(label, guess, classes):
    table = np.zeros((classes, classes))
    np.add.at(table, (label, guess), 1)
    n, right = table.sum(), np.trace(table)
    truth, guessed = table.sum(1), table.sum(0)
    below = (n * n - (guessed ** 2).sum()) * (n * n - (truth ** 2).sum())
    return float((right * n - (truth * guessed).sum()) / math.sqrt(below)) if below > 0 else 0.0


def reliability(probability, right):
    """Per bin of the likeliest class's probability: count, mean probability, share right; ECE."""
    at = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(at, minlength=BINS)
    some = np.maximum(count, 1)
    said = np.bincount(at, weights=probability, minlength=BINS) / some
    was = np.bincount(at, weights=right, minlength=BINS) / some
    ece = float((count * np.abs(said - was)).sum() / max(len(at), 1))
    table = [{"from": b / BINS, "to": (b + 1) / BINS, "count": int(count[b]),
              "probability": round(float(said[b]), 6), "accuracy": round(float(was[b]), 6)}
             for b in range(BINS) if count[b]]
    return table, ece


def measure(probability, label):
    """All figures of probabilities (n, classes) and labels (n,) as a dictionary."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.int64)
    n, classes = p.shape
    if n == 0:
        raise ValueError("no examples to measure")
    guess = p.argmax(1)
    onehot = np.zeros_like(p)
    onehot[np.arange(n), y] = 1
    ranked = [1] if classes == 2 else [k for k in range(classes) if (y == k).any()]
    squares = (p - onehot) ** 2
    table, ece = reliability(p.max(1), guess == y)
    with np.errstate(divide="ignore"):
        log_loss = float(-np.log(p[np.arange(n), y]).mean())
    return {
        "examples": n,
        "accuracy": float((guess == y).mean()),
        "auroc": float(np.mean([auroc(p[:, k], y == k) for k in ranked])),
        "auprc": float(np.mean([auprc(p[:, k], y == k) for k in ranked])),
        "mcc": mcc(y, guess, classes),
        "brier": float(squares[:, 1].mean() if classes == 2 else squares.sum(1).mean()),
        "log_loss": log_loss,
        "ece": ece,
        "reliability": table,
    }


def softmax(logits):
    z = np.asarray(logits, dtype=np.float64)
    z = np.exp(z - z.max(1, keepdims=True))
    return z / z.sum(1, keepdims=True)


def fit_temperature(logits, label):
    """T > 0 with the least log loss of softmax(logits / T): golden section in log T."""
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(label, dtype=np.int64)

    def loss(log_t):
        s = z / math.exp(log_t)
        top = s.max(1)
        return float((np.log(np.exp(s - top[:, None]).sum(1)) + top
                      - s[np.arange(len(y)), y]).mean())

    low, high, ratio = math.log(0.05), math.log(20.0), (math.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if loss(a) <= loss(b):
            high = b
        else:
            low = a
    return math.exp((low + high) / 2)


def one_line(m):
    return ("accuracy %.4f  AUROC %.4f  AUPRC %.4f  MCC %.4f  Brier %.4f  log loss %.4f  "
            "ECE %.4f  (%d)" % (m["accuracy"], m["auroc"], m["auprc"], m["mcc"], m["brier"],
                                m["log_loss"], m["ece"], m["examples"]))


def table_lines(m):
    yield "  probability   count   said   right"
    for row in m["reliability"]:
        yield "  %.1f - %.1f   %7d  %.4f  %.4f" % (
            row["from"], row["to"], row["count"], row["probability"], row["accuracy"])
