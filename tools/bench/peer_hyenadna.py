#!/usr/bin/env python3
"""Speed of HyenaDNA in PyTorch on a GPU: what `crocuta bench --device cuda` is compared with.

The model is written here once more from docs/hyenadna.md, in the published order of operations: the filter's
network evaluated in every forward pass, real transforms of twice the input's length, torch's own layers
(LayerNorm, Linear, grouped Conv1d, tanh GELU), the residual in float32, logits computed. Weights are random;
the time of none of these operations depends on them. A pass is a forward pass without gradients over a batch
that lies on the device.

modes   f32      float32, matrix products without TF32 (torch's default)
        tf32     float32, matrix products in TF32
        bf16     autocast to bfloat16; filter, transforms and residual in float32
        compile  bf16 under torch.compile

usage: peer_hyenadna.py [--shapes NAME,...] [--modes MODE,...] [--repeat N] [--seconds S] [--compile-most BASES]
       peer_hyenadna.py --check      on the CPU: the same output as tools/pretrain/hyenadna.py

Prints a table and, last, one line of JSON. A mode that fails (memory, no compiler) is said and left out.
"""
import argparse
import json
import math
import os
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCABULARY = 16
FILTER_WIDTH = 64
FEATURES = 5

# name: width, blocks, longest input of the model, sequence length, sequences
SHAPES = {
    "tiny-1k/1024": (128, 2, 1026, 1024, 256),
    "small-32k/1024": (256, 4, 32770, 1024, 256),
    "small-32k/32768": (256, 4, 32770, 32768, 8),
    "medium-160k/160000": (256, 8, 160002, 160000, 4),
    "large-1m/1000000": (256, 8, 1000002, 1000000, 1),
}
MODES = ("f32", "tf32", "bf16", "compile")


# ---------------------------------------------------------------------- model


class Sine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.freq = nn.Parameter(torch.full((1, width), 10.0))

    def forward(self, x):
        return torch.sin(self.freq * x)


class Constants(nn.Module):
    def __init__(self, **tensors):
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value)


class LongFilter(nn.Module):
    """h (D, L) of section 2.3. One Sine serves all layers of the network."""

    def __init__(self, width, longest, shift=0.05):
        super().__init__()
        n = torch.arange(longest, dtype=torch.float64)
        t = n / (longest - 1)
        bands = torch.linspace(1e-4, (FEATURES - 1) // 2 - 1, (FEATURES - 1) // 2, dtype=torch.float64)
        angle = bands * (2 * math.pi * n / longest)[:, None]
        z = torch.cat([t[:, None], torch.cos(angle), -torch.sin(angle)], dim=1)
        slow, fast = math.log(0.01) / 1.5, math.log(0.01) / 0.3
        deltas = torch.linspace(slow, fast, width, dtype=torch.float64)
        sine = Sine(FILTER_WIDTH)
        self.shift = shift
        self.bias = nn.Parameter(torch.randn(width))
        self.pos_emb = Constants(z=z.float()[None], t=t.float()[None, :, None])
        self.implicit_filter = nn.Sequential(
            nn.Linear(FEATURES, FILTER_WIDTH), sine,
            nn.Linear(FILTER_WIDTH, FILTER_WIDTH), sine,
            nn.Linear(FILTER_WIDTH, FILTER_WIDTH), sine,
            nn.Linear(FILTER_WIDTH, width, bias=False))
        self.modulation = Constants(deltas=deltas.float()[None, None])

    def forward(self, length):
        z, t = self.pos_emb.z[:, :length], self.pos_emb.t[:, :length]
        h = self.implicit_filter(z)
        h = h * (torch.exp(-t * self.modulation.deltas.abs()) + self.shift)
        return h[0].t()


class Mixer(nn.Module):
    """Section 2.2, channels before positions from the short filter on, as published."""

    def __init__(self, width, longest):
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.short_filter = nn.Conv1d(3 * width, 3 * width, 3, padding=2, groups=3 * width)
        self.filter_fn = LongFilter(width, longest)
        self.out_proj = nn.Linear(width, width)

    def convolve(self, g):
        with torch.autocast(g.device.type, enabled=False):
            length = g.shape[-1]
            size = 2 * length
            g = g.float()
            h = torch.fft.rfft(self.filter_fn(length), n=size) / size
            y = torch.fft.irfft(torch.fft.rfft(g, n=size) * h, n=size, norm="forward")[..., :length]
            return y + g * self.filter_fn.bias[:, None]

    def forward(self, x):
        length = x.shape[1]
        u = self.in_proj(x).transpose(1, 2)
        x0, x1, v = self.short_filter(u)[..., :length].chunk(3, dim=1)
        y = self.convolve(v * x1).to(x0.dtype) * x0
        return self.out_proj(y.transpose(1, 2))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, longest):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.mixer = Mixer(width, longest)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = MLP(width)

    def forward(self, r):
        r = r + self.mixer(self.norm1(r)).float()
        return r + self.mlp(self.norm2(r)).float()


class Model(nn.Module):
    """ids (B, L) -> logits (B, L, 16)."""

    def __init__(self, width, blocks, longest):
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList([Block(width, longest) for _ in range(blocks)])
        self.ln_f = nn.LayerNorm(width, eps=1e-5)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids):
        r = self.word_embeddings(ids)
        for block in self.layers:
            r = block(r)
        return self.lm_head(self.ln_f(r))


# --------------------------------------------------------------------- timing


def measure(model, ids, mode, repeat):
    """Bases a second of the fastest and of the median pass, and the most bytes torch held."""
    torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    torch.backends.cudnn.allow_tf32 = mode == "tf32"
    if mode == "compile":
        torch._dynamo.reset()
        model = torch.compile(model, dynamic=False)
    seconds = []
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=mode in ("bf16", "compile")):
        for _ in range(2):  # plans of transforms, algorithms, compilation
            model(ids)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(repeat):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            model(ids)
            end.record()
            torch.cuda.synchronize()
            seconds.append(begin.elapsed_time(end) / 1000)
    # a pass after empty_cache allocates: it is the first one timed, and never the fastest
    return ids.numel() / min(seconds), ids.numel() / statistics.median(seconds), torch.cuda.max_memory_allocated()


def run(args):
    if not torch.cuda.is_available():
        sys.exit("peer_hyenadna.py: torch %s sees no GPU" % torch.__version__)
    start = time.monotonic()
    rows = []
    print("# PyTorch %s, %s" % (torch.__version__, torch.cuda.get_device_name()))
    print("#shape\tsequences\tmode\tM bases/s\tmedian\tpeak MB", flush=True)
    for name in args.shapes:
        width, blocks, longest, length, batch = SHAPES[name]
        torch.manual_seed(1)
        model = Model(width, blocks, longest).cuda().eval()
        ids = torch.randint(7, 11, (batch, length), device="cuda")
        for mode in args.modes:
            why = None
            if mode == "compile" and length * batch * blocks > args.compile_most:
                why = "left out by --compile-most"
            elif mode == "compile" and time.monotonic() - start > args.seconds:
                why = "left out: %g s are over" % args.seconds
            else:
                try:
                    best, median, peak = measure(model, ids, mode, args.repeat)
                except Exception as e:  # whatever torch or its compiler raises
                    why = "failed: " + (str(e).strip().splitlines() or [type(e).__name__])[0]
            if why:
                print("# %s %s: %s" % (name, mode, why), flush=True)
            else:
                print("%s\t%d\t%s\t%.2f\t%.2f\t%.0f" % (name, batch, mode, best / 1e6, median / 1e6, peak / 1e6),
                      flush=True)
                rows.append({"shape": name, "length": length, "sequences": batch, "mode": mode,
                             "bases_per_second": best, "median_bases_per_second": median, "peak_bytes": peak})
            torch.cuda.empty_cache()
        del model, ids
        torch.cuda.empty_cache()
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name(), "rows": rows}))


def check():
    """The same weights here and in tools/pretrain/hyenadna.py, on the CPU."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "pretrain"))
    from hyenadna import Config, HyenaDNA

    worst = 0.0
    for width, blocks, longest, length in ((32, 2, 70, 64), (40, 3, 300, 300), (8, 1, 34, 7)):
        torch.manual_seed(width)
        model = Model(width, blocks, longest).eval()
        other = HyenaDNA(Config(d_model=width, n_layer=blocks, max_seq_len=longest, emb_dim=FEATURES)).eval()
        ours = {"hyena.backbone." + name: value for name, value in model.state_dict().items()
                if not name.startswith(("lm_head.", "word_embeddings."))}
        ours["lm_head.weight"] = model.lm_head.weight
        ours["hyena.backbone.embeddings.word_embeddings.weight"] = model.word_embeddings.weight
        other.load_tensors(ours)
        ids = torch.randint(7, 12, (3, length))
        with torch.no_grad():
            a, b = model(ids), other(ids)[1]
        worst = max(worst, float((a - b).abs().max()) / float(b.square().mean().sqrt()))
    print("largest difference over rms: %.2g" % worst)
    sys.exit(not worst < 1e-4)


def words(allowed):
    def parse(text):
        chosen = text.split(",")
        unknown = [word for word in chosen if word not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError("%s is none of %s" % (unknown[0], ", ".join(allowed)))
        return chosen
    return parse


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--shapes", type=words(SHAPES), default=list(SHAPES), help="of: " + ", ".join(SHAPES))
    p.add_argument("--modes", type=words(MODES), default=list(MODES), help="of: " + ", ".join(MODES))
    p.add_argument("--repeat", type=int, default=7, help="timed passes of a row [7]")
    p.add_argument("--seconds", type=float, default=70, help="begin no compilation after that many [70]")
    p.add_argument("--compile-most", type=int, default=1 << 20, metavar="N",
                   help="compile rows of at most N bases times blocks [1048576: tiny and small]")
    p.add_argument("--check", action="store_true", help="compare the model with tools/pretrain/hyenadna.py")
    args = p.parse_args()
    if args.check:
        check()
    run(args)


if __name__ == "__main__":
    main()
