#!/usr/bin/env python3
"""Held-out loss of a model directory on the validation windows of a packed file.

Nats per base on A, C, G, T targets, with the softmax over these four and over all 16
classes, in non-overlapping windows; the first base of a window has no score.
"""

import argparse
import json
import sys
import time

sys.dont_write_bytecode = True
import torch

from dataset import Packed
from hyenadna import HyenaDNA
from train import evaluate, rows_at_once


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", help="model directory")
    p.add_argument("--data", required=True, help="packed .npz from prepare_data.py")
    p.add_argument("--window", type=int,
                   help="bases; default: two less than the model's max_seq_len")
    p.add_argument("--part", type=int, default=1, help="use every n-th window")
    p.add_argument("--batch", type=int, help="windows at once; default: 131,072 bases of them")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = p.parse_args()
    model = HyenaDNA.load(args.model).exact_filters().to(args.device)
    window = args.window or model.cfg.max_seq_len - 2
    if not 2 <= window <= model.cfg.max_seq_len:
        p.error("--window %d: the model reads 2 to %d" % (window, model.cfg.max_seq_len))
    data = Packed(args.data)
    codes = torch.from_numpy(data.codes).to(args.device)
    windows = data.validation_windows(window)[:: args.part]
    start = time.time()
    result = evaluate(model, codes, windows, window, args.batch or rows_at_once(window),
                      args.device)
    result["window"] = window
    result["seconds"] = round(time.time() - start, 1)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
