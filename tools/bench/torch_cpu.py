#!/usr/bin/env python3
"""Bases a second of the PyTorch reference on the CPU, for tools/bench/run.

Runs the model of tools/pretrain/hyenadna.py in float32 on made-up tokens, the published sequence of
operations: filters evaluated at every call, transforms of twice the length. Sequences go through in
batches of at most 16, and no more are run than take a minute. Prints one number.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pretrain"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from hyenadna import HyenaDNA

    torch.set_num_threads(args.threads)
    model = HyenaDNA.load(args.model).eval()
    batch = min(16, args.sequences)
    ids = torch.randint(7, 11, (batch, args.length))
    best = float("inf")
    deadline = time.monotonic() + 60
    with torch.no_grad():
        if args.length <= 40000:
            model(ids[:1])  # warm up
        for _ in range(3):
            start = time.monotonic()
            model(ids)
            best = min(best, time.monotonic() - start)
            if time.monotonic() > deadline:
                break
    print("%.1f" % (batch * args.length / best))


if __name__ == "__main__":
    main()
