#!/usr/bin/env python3
"""Interpolated Markov models on the bases that train.py scores.

Counts come from the training segments of the packed file.  With c(x, b) the number
of times base b follows the context x of k bases, and x' the context without its
oldest base,

    p_0(b) = (c(b) + 1) / (c + 4)
    p_k(b | x) = (c(x, b) + A p_{k-1}(b | x')) / (c(x) + A)

with one fixed A (--weight).  The scored bases are the same as the model's: the
validation windows without the first base of each, A, C, G and T only.  Unlike the
model, the Markov models may look across the start of a window; where an N lies in
the context the longest context without it is used.
"""

import argparse
import json
import sys

sys.dont_write_bytecode = True
import numpy as np

from dataset import Packed


def kmer_codes(codes, k):
    """Code of the k-mer that ends at each position from k-1 on; and whether it is all ACGT."""
    n = len(codes) - k + 1
    word = np.zeros(n, dtype=np.int32)
    bad = np.zeros(n, dtype=bool)
    for i in range(k):
        part = codes[i : i + n]
        word = (word << 2) | (part & 3)
        bad |= part > 3
    return word, ~bad


def count(codes, segments, k, both_strands):
    total = np.zeros(4**k, dtype=np.int64)
    for start, length in segments:
        piece = codes[start : start + length]
        for at in range(0, length - k + 1, 1 << 23):
            part = piece[at : at + (1 << 23) + k - 1]
            strands = [part]
            if both_strands:
                strands.append(np.where(part < 4, 3 - part, 4).astype(np.uint8)[::-1])
            for strand in strands:
                word, good = kmer_codes(strand, k)
                # Short pieces: don't sweep the whole table for each of them.
                word = word[good]
                if len(word) * 8 < len(total):
                    np.add.at(total, word, 1)
                else:
                    total += np.bincount(word, minlength=len(total))
    return total


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="packed .npz from prepare_data.py")
    p.add_argument("--orders", type=int, nargs="+", default=[0, 5, 8, 10, 11])
    p.add_argument("--weight", type=float, default=10.0, help="A, default 10")
    p.add_argument("--window", type=int, default=1024)
    p.add_argument("--one-strand", action="store_true",
                   help="count the training sequence as it stands only, not its reverse "
                        "complement too")
    p.add_argument("--json", help="write the results here as well")
    args = p.parse_args()

    data = Packed(args.data)
    training = data.segments(0)
    windows = data.validation_windows(args.window)
    (first, length), = data.segments(1)
    codes = data.codes[first : first + length]
    scored = np.zeros(length, dtype=bool)
    for w in windows:
        scored[w - first + 1 : w - first + args.window] = True
    scored &= codes < 4
    scored = np.flatnonzero(scored)

    results = {}
    table = None
    logp = np.zeros(len(scored))
    for k in range(max(args.orders) + 1):
        c = count(data.codes, training, k + 1, not args.one_strand)
        c = c.reshape(-1, 4).astype(np.float64)
        if k == 0:
            table = (c + 1) / (c.sum() + 4)
        else:
            shorter = table[np.arange(4**k) % 4 ** (k - 1)]
            table = (c + args.weight * shorter) / (c.sum(1, keepdims=True) + args.weight)
        word, good = kmer_codes(codes, k + 1)
        at = scored - k
        ok = at >= 0
        ok[ok] = good[at[ok]]
        logp[ok] = np.log(table.reshape(-1)[word[at[ok]]])  # the others keep the shorter context
        if k in args.orders:
            results[str(k)] = -float(logp.mean())
            print("order %2d  %.5f nats/base on %d bases" % (k, results[str(k)], len(scored)),
                  flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"weight": args.weight, "both_strands": not args.one_strand,
                       "bases": len(scored), "nats_per_base": results}, f, indent=1)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
