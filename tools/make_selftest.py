#!/usr/bin/env python3
"""Write selftest.json for a model directory.

The records hold what the model must return for a few short sequences, computed in
float64 from the stored weights by the reference in tools/pretrain/hyenadna.py:
the log-likelihood over 16 classes, the first eight numbers of the last hidden state
and the last logits.  Needs NumPy and PyTorch.
"""

import argparse
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "pretrain"))


def made_up(length, seed):
    """Letters from a 64-bit linear congruential generator (no real sequence)."""
    state, out = seed, []
    for _ in range(length):
        state = (6364136223846793005 * state + 1442695040888963407) % 2**64
        out.append("ACGT"[state >> 62])
    return "".join(out)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory", metavar="DIR", help="model directory; selftest.json goes there")
    args = p.parse_args()
    try:
        import torch

        from hyenadna import HyenaDNA, log_likelihood, tokenize
    except ImportError as error:
        print("make_selftest: %s" % error, file=sys.stderr)
        return 6
    try:
        model = HyenaDNA.load(args.directory, torch.float64)
    except OSError as error:
        print("make_selftest: %s" % error, file=sys.stderr)
        return 5
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        print("make_selftest: %s: %s" % (args.directory, str(error).split("\n")[0]),
              file=sys.stderr)
        return 4
    torch.set_num_threads(1)

    longest = min(512, model.cfg.max_seq_len)
    middle = made_up(min(64, longest), 2)
    middle = middle[:40] + "N" + middle[41:] if len(middle) > 40 else middle
    records = []
    for sequence in ("A", middle, made_up(longest, 3)):
        ids = torch.tensor(tokenize(sequence), dtype=torch.int64)
        with torch.no_grad():
            hidden, logits = model(ids[None])
        records.append({
            "sequence": sequence,
            "loglik16": round(log_likelihood(logits[0], ids), 9),
            "hidden_first8": [round(x, 9) for x in hidden[0, -1, :8].tolist()],
            "logits_last": [round(x, 9) for x in logits[0, -1].tolist()],
        })
    document = {
        "format": 1,
        "records": records,
        "tolerance": {"hidden": 1e-4, "loglik_relative": 1e-6, "loglik_absolute": 1e-3},
    }
    path = os.path.join(args.directory, "selftest.json")
    with open(path + ".tmp", "w") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)
    print("%s: %s" % (path, ", ".join("%d bases %.6f" % (len(r["sequence"]), r["loglik16"])
                                      for r in records)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
