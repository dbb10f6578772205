#!/usr/bin/env python3
"""How smooth are the long filters of a model?  Figures for the near/far convolution.

The filter of a layer is a function of t = n / (M - 1), so the trained weights also
define it for another window length M.  For each length given this prints, from
float64 evaluations of the formula on the stored weights:

  bandwidth   the least number of cycles per window within which 99, 99.99 and
              99.9999 % of the power of h lie (Hann window over all M taps), median
              and worst channel, for lengths up to --spectrum-limit;
  far error   the worst error of replacing h(n - n') by interpolation in both n and n'
              with r Chebyshev nodes (first kind) each, over pairs of blocks of B
              positions at every block distance from 1 on, checked on a grid of 33 x 33
              places per pair, all channels, relative to the channel's largest tap.
"""

import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
import numpy as np

from hyenadna import Config, read_safetensors

LEVELS = (0.99, 0.9999, 0.999999)


class Filter:
    """h of one layer at any real offset n of a window of m positions."""

    def __init__(self, cfg, tensors, layer, m):
        head = ".layers.%d.mixer.filter_fn." % layer
        at = {k.split(head)[1]: v.double().numpy() for k, v in tensors.items() if head in k}
        self.cfg, self.at, self.m = cfg, at, m
        # As stored; the published files hold the formula's values.
        self.delta = np.abs(at["modulation.deltas"].reshape(-1))

    def __call__(self, n):
        cfg, at = self.cfg, self.at
        n = np.asarray(n, np.float64).reshape(-1)
        t = n / (self.m - 1)
        bands = (cfg.emb_dim - 1) // 2
        angle = np.outer(2 * np.pi * n / self.m, np.linspace(1e-4, bands - 1, bands))
        a = np.concatenate([t[:, None], np.cos(angle), -np.sin(angle)], axis=1)
        freq = at.get("implicit_filter.1.freq", np.full((1, 1), float(cfg.activation_freq)))
        last = 2 * (cfg.num_inner_mlps + 1)
        for i in range(0, last, 2):
            a = np.sin(freq * (a @ at["implicit_filter.%d.weight" % i].T
                               + at["implicit_filter.%d.bias" % i]))
        g = a @ at["implicit_filter.%d.weight" % last].T
        return g * (np.exp(-np.outer(t, self.delta)) + cfg.filter_shift)

    def taps(self):
        """All m taps, a chunk at a time."""
        return np.concatenate([self(np.arange(s, min(s + 16384, self.m)))
                               for s in range(0, self.m, 16384)])

    def peak(self):
        """Largest tap of each channel, from at most about 16,000 places."""
        step = max(1, self.m // 16000)
        return np.abs(self(np.arange(0, self.m, step))).max(axis=0)


def bandwidths(filt):
    h = filt.taps()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(filt.m) / filt.m)
    out = []
    for c in range(h.shape[1]):
        power = np.abs(np.fft.rfft(h[:, c] * hann)) ** 2
        power[1:] *= 2
        share = np.cumsum(power) / power.sum()
        out.append([int(np.searchsorted(share, level)) for level in LEVELS])
    return np.array(out)


def chebyshev(count, r):
    """Nodes on [0, count - 1], and the Lagrange matrix (places, r) on a grid of it."""
    k = np.arange(r)
    x = np.cos(np.pi * (2 * k + 1) / (2 * r))
    places = np.unique(np.round(np.linspace(0, count - 1, 33)))
    y = 2 * places / (count - 1) - 1
    lagrange = np.ones((len(places), r))
    for i in range(r):
        for j in range(r):
            if i != j:
                lagrange[:, i] *= (y - x[j]) / (x[i] - x[j])
    return (x + 1) / 2 * (count - 1), places, lagrange


def far_error(filt, block, r):
    nodes, places, lagrange = chebyshev(block, r)
    between_nodes = (nodes[:, None] - nodes[None, :]).reshape(-1)
    offsets = places[:, None] - places[None, :]
    distinct, inverse = np.unique(offsets, return_inverse=True)
    inverse = inverse.reshape(offsets.shape)
    peak = filt.peak()
    worst = np.zeros(len(peak))
    for k in range(1, -(-filt.m // block)):
        exact = filt(k * block + distinct)
        coarse = filt(k * block + between_nodes).reshape(r, r, -1)
        got = np.einsum("ap,pqc->aqc", lagrange, coarse)
        got = np.einsum("bq,aqc->abc", lagrange, got)
        inside = k * block + offsets <= filt.m - 1
        if inside.any():
            error = np.abs(got - exact[inverse])[inside]
            worst = np.maximum(worst, error.max(axis=0))
    return float((worst / peak).max())


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", help="model directory")
    p.add_argument("--windows", type=int, nargs="+", help="default: the model's own length")
    p.add_argument("--pairs", nargs="+", default=["64,8", "128,8", "256,12"], metavar="B,r",
                   help="block lengths and node counts")
    p.add_argument("--spectrum-limit", type=int, default=200000)
    p.add_argument("--json", help="write the figures here as well")
    args = p.parse_args()
    cfg = Config.read(os.path.join(args.model, "config.json"))
    tensors = read_safetensors(os.path.join(args.model, "model.safetensors"))
    rows = []
    for m in args.windows or [cfg.max_seq_len]:
        filters = [Filter(cfg, tensors, i, m) for i in range(cfg.n_layer)]
        if m <= args.spectrum_limit:
            for i, filt in enumerate(filters):
                b = bandwidths(filt)
                row = {"window": m, "layer": i}
                for j, level in enumerate(LEVELS):
                    row["%.4f%%" % (100 * level)] = [int(np.median(b[:, j])), int(b[:, j].max())]
                rows.append(row)
                print("window %d layer %d: cycles per window, median (worst): %s" % (
                    m, i, "  ".join("%.6g%% %d (%d)" % (100 * level, np.median(b[:, j]),
                                                        b[:, j].max())
                                    for j, level in enumerate(LEVELS))), flush=True)
        for pair in args.pairs:
            block, r = (int(x) for x in pair.split(","))
            if 2 * block > m:
                continue
            errors = [far_error(f, block, r) for f in filters]
            rows.append({"window": m, "block": block, "nodes": r, "worst_relative_error": errors})
            print("window %d B %d r %d: worst relative error by layer %s" % (
                m, block, r, " ".join("%.1e" % e for e in errors)), flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
