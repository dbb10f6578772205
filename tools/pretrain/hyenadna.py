#!/usr/bin/env python3
"""HyenaDNA in PyTorch, written from the model's equations: a second reference.

The order of operations is the published one (global FFT of size 2L, filter MLP
evaluated on stored positions), so that float32 results differ from the original
code by rounding only.  Run in float64 it is an oracle for faster engines.

A model directory has the Hugging Face layout: config.json and model.safetensors
with names such as hyena.backbone.layers.0.mixer.in_proj.weight.  One field of
config.json is crocuta's own: "filter_shift", the constant added to the decaying
window of the long filter (0.05 if absent; 0.0 for weights that were trained with
the original training repository's code path).

As a program it prints the log-likelihood of the sequences of a FASTA file:

    hyenadna.py MODEL_DIR input.fa
"""

import argparse
import copy
import gzip
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

PREFIX = "hyena.backbone."
CLS, SEP, BOS, MASK, PAD, RESERVED, UNK = range(7)
TOKEN_OF = {"A": 7, "C": 8, "G": 9, "T": 10, "N": 11}
FIRST_BASE = 7  # A, C, G, T are 7, 8, 9, 10


# --------------------------------------------------------------------- tokens


def tokenize(text):
    """One id per character; upper-case A, C, G, T, N only, anything else is [UNK]."""
    return [TOKEN_OF.get(c, UNK) for c in text]


def read_fasta(path):
    """Yield (name, sequence) pairs; case is kept as it stands in the file."""
    opener = gzip.open if str(path).endswith(".gz") else open
    name, parts = None, []
    with opener(path, "rt") as f:
        for line in f:
            line = line.rstrip("\r\n")
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(parts)
                words = line[1:].split()
                name, parts = (words[0] if words else ""), []
            elif name is not None:
                parts.append(line)
    if name is not None:
        yield name, "".join(parts)


# ---------------------------------------------------------------- safetensors


def read_safetensors(path):
    """Return {name: torch tensor}; F64, F32, F16, BF16 and I64 are understood."""
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < 8:
        raise ValueError("%s: too short for a safetensors file" % path)
    (n,) = struct.unpack("<Q", data[:8])
    if n > len(data) - 8:
        raise ValueError("%s: header runs past the end of the file" % path)
    header = json.loads(data[8 : 8 + n].decode("utf-8"))
    body = memoryview(data)[8 + n :]
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in kinds:
            raise ValueError("%s: %s has type %s" % (path, name, entry["dtype"]))
        dtype = np.dtype(kinds[entry["dtype"]])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if not 0 <= begin <= end <= len(body) or end - begin != count * dtype.itemsize:
            raise ValueError("%s: %s has a bad byte range" % (path, name))
        array = np.frombuffer(body[begin:end], dtype=dtype)
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        out[name] = torch.from_numpy(array.reshape(entry["shape"]).copy())
    return out


def write_safetensors(path, tensors):
    """Write {name: tensor} as F32, names sorted, through a temporary file."""
    header, chunks, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().to(torch.float32).contiguous().numpy()
        raw = array.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        chunks.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    tmp = path + ".tmp"
    with open(tmp, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for raw in chunks:
            f.write(raw)
    os.replace(tmp, path)


# --------------------------------------------------------------- configuration


class Config:
    """The fields of config.json that shape the computation."""

    # Values the published class assumes when a field is absent.
    DEFAULTS = {
        "d_model": 256,
        "d_inner": None,  # 4 * d_model
        "n_layer": 12,
        "emb_dim": 3,
        "filter_order": 64,
        "num_inner_mlps": 2,
        "activation_freq": 1,
        "train_freq": True,
        "max_seq_len": 1024,
        "vocab_size": 12,
        "pad_vocab_size_multiple": 8,
        "layer_norm_epsilon": 1e-5,
        "hyena_order": 2,
        "short_filter_order": 3,
        "use_bias": True,
        "initializer_range": 0.02,
        "filter_shift": 0.05,
        "filter_init": "uniform",  # these two for training only; see train.py
        "decay_init": "standard",
    }

    def __init__(self, **fields):
        self.raw = dict(fields)
        for name, value in self.DEFAULTS.items():
            setattr(self, name, fields.get(name, value))
        if self.d_inner is None:
            self.d_inner = 4 * self.d_model
        if self.hyena_order != 2 or self.short_filter_order != 3 or not self.use_bias:
            raise ValueError("only order 2, a short filter of 3 and biases are supported")
        if self.emb_dim < 3 or self.emb_dim % 2 == 0:
            raise ValueError("emb_dim must be odd and at least 3")

    @property
    def padded_vocab(self):
        m = self.pad_vocab_size_multiple
        return -(-self.vocab_size // m) * m

    @classmethod
    def read(cls, path):
        with open(path) as f:
            return cls(**json.load(f))

    def to_dict(self):
        """What is written: the published fields, then filter_shift."""
        out = {
            "activation_freq": self.activation_freq,
            "architectures": ["HyenaDNAForCausalLM"],
            "d_inner": self.d_inner,
            "d_model": self.d_model,
            "emb_dim": self.emb_dim,
            "embed_dropout": 0.0,
            "filter_order": self.filter_order,
            "filter_shift": self.filter_shift,
            "hyena_dropout": 0.0,
            "hyena_filter_dropout": 0.0,
            "hyena_order": self.hyena_order,
            "initializer_range": self.initializer_range,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "max_seq_len": self.max_seq_len,
            "model_type": "hyenadna",
            "n_layer": self.n_layer,
            "num_inner_mlps": self.num_inner_mlps,
            "pad_token_id": PAD,
            "pad_vocab_size_multiple": self.pad_vocab_size_multiple,
            "short_filter_order": self.short_filter_order,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
            "train_freq": self.train_freq,
            "use_bias": self.use_bias,
            "vocab_size": self.vocab_size,
        }
        return out


# -------------------------------------------------------------- long filter


def position_features(m, emb_dim):
    """t (m,) and z (m, emb_dim) in float64, from the formulas.

    t runs from 0 to 1 over the model's length m; the angles use n/m, not n/(m-1).
    """
    n = torch.arange(m, dtype=torch.float64)
    t = n / (m - 1) if m > 1 else n
    bands = (emb_dim - 1) // 2
    f = torch.linspace(1e-4, bands - 1, bands, dtype=torch.float64)
    angle = f[None, :] * (2 * math.pi * n / m)[:, None]
    return t, torch.cat([t[:, None], torch.cos(angle), -torch.sin(angle)], dim=1)


TINY = 1026  # positions of the shortest published model


def decay_rates(d_model):
    """delta per channel; only |delta| is used: about 3.07 (slow) to 15.35 (fast)."""
    slow, fast = math.log(0.01) / 1.5, math.log(0.01) / 0.3
    return torch.linspace(slow, fast, d_model, dtype=torch.float64)


def log_decay_rates(d_model, m):
    """From the same slowest delta to what is the fastest one over TINY positions,
    evenly in the logarithm, so that some channels of a long model look at short range."""
    slow, fast = -math.log(0.01) / 1.5, -math.log(0.01) / 0.3 * max(m / TINY, 1.0)
    return -torch.exp(torch.linspace(
        math.log(slow), math.log(fast), d_model, dtype=torch.float64))


class Sine(nn.Module):
    """sin(freq * x) with one learned frequency per unit."""

    def __init__(self, width, freq, trainable):
        super().__init__()
        self.fixed = None if trainable else float(freq)
        if trainable:
            self.freq = nn.Parameter(torch.full((1, width), float(freq)))

    def forward(self, x):
        return torch.sin((self.freq if self.fixed is None else self.fixed) * x)


class FilterMLP(nn.Module):
    """Linear, sine, k times (Linear, sine), Linear.  One Sine serves all of them,
    and it is listed once, at index 1, as in the published files."""

    def __init__(self, cfg):
        super().__init__()
        self.inner = cfg.num_inner_mlps
        width = cfg.filter_order
        self.add_module("0", nn.Linear(cfg.emb_dim, width))
        self.add_module("1", Sine(width, cfg.activation_freq, cfg.train_freq))
        for i in range(self.inner):
            self.add_module(str(2 * (i + 1)), nn.Linear(width, width))
        self.add_module(str(2 * (self.inner + 1)), nn.Linear(width, cfg.d_model, bias=False))

    def forward(self, z):
        layer = self._modules
        sine = layer["1"]
        a = sine(layer["0"](z))
        for i in range(self.inner):
            a = sine(layer[str(2 * (i + 1))](a))
        return layer[str(2 * (self.inner + 1))](a)


class Buffers(nn.Module):
    """A holder of constants that the published layout stores as tensors."""

    def __init__(self, **tensors):
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value)


class LongFilter(nn.Module):
    """h[c][n] for n < L, and the skip weight (named bias in the files)."""

    # Evaluate in float64 and round.  In float32 the sines of large arguments are what
    # limits the accuracy of the whole model; the published code does that.
    exact = False

    def __init__(self, cfg):
        super().__init__()
        t, z = position_features(cfg.max_seq_len, cfg.emb_dim)
        self.shift = cfg.filter_shift
        self.bias = nn.Parameter(torch.randn(cfg.d_model))
        self.pos_emb = Buffers(z=z.float()[None], t=t.float()[None, :, None])
        self.implicit_filter = FilterMLP(cfg)
        deltas = (log_decay_rates(cfg.d_model, cfg.max_seq_len) if cfg.decay_init == "log"
                  else decay_rates(cfg.d_model))
        self.modulation = Buffers(deltas=deltas.float()[None, None])

    def forward(self, length):
        if self.exact and self.bias.dtype == torch.float32:
            return copy.deepcopy(self).double()(length).float()
        z, t = self.pos_emb.z[0, :length], self.pos_emb.t[0, :length]
        window = torch.exp(-t * self.modulation.deltas[0].abs()) + self.shift
        return (self.implicit_filter(z) * window).t()  # (D, L)


def fft_conv(v, h):
    """Causal convolution along the last axis: (B, D, L) with (D, L)."""
    length = v.shape[-1]
    n = 2 * length
    spectrum = torch.fft.rfft(v, n=n) * torch.fft.rfft(h, n=n)
    return torch.fft.irfft(spectrum, n=n)[..., :length]


# --------------------------------------------------------------------- model


class ShortFilter(nn.Module):
    """Depthwise causal convolution over three positions; the last tap is 'now'."""

    def __init__(self, channels):
        super().__init__()
        bound = 1 / math.sqrt(3)
        self.weight = nn.Parameter(torch.empty(channels, 1, 3).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, u):  # (B, L, C): the position axis is padded in front with zeros
        length = u.shape[1]
        p = F.pad(u, (0, 0, 2, 0))
        w = self.weight[:, 0]
        return (
            p[:, :length] * w[:, 0]
            + p[:, 1 : length + 1] * w[:, 1]
            + p[:, 2:] * w[:, 2]
            + self.bias
        )


class HyenaMixer(nn.Module):
    convolve = staticmethod(fft_conv)  # the trainer puts a faster gradient here

    def __init__(self, cfg):
        super().__init__()
        d = cfg.d_model
        self.in_proj = nn.Linear(d, 3 * d)
        self.short_filter = ShortFilter(3 * d)
        self.filter_fn = LongFilter(cfg)
        self.out_proj = nn.Linear(d, d)

    def filter(self, length):
        """h in full precision, also when the rest runs under autocast."""
        with torch.autocast(device_type=self.out_proj.weight.device.type, enabled=False):
            return self.filter_fn(length)

    def forward(self, x):
        x0, x1, v = self.short_filter(self.in_proj(x)).chunk(3, dim=-1)
        v = (v * x1).transpose(1, 2).contiguous()
        v = v.to(self.filter_fn.bias.dtype)
        y = self.convolve(v, self.filter(x.shape[1])) + v * self.filter_fn.bias[:, None]
        return self.out_proj(y.transpose(1, 2) * x0)


class MLP(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.fc1 = nn.Linear(cfg.d_model, cfg.d_inner)
        self.fc2 = nn.Linear(cfg.d_inner, cfg.d_model)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        # The published model takes 1e-5 here whatever the configuration says.
        self.norm1 = nn.LayerNorm(cfg.d_model, eps=1e-5)
        self.mixer = HyenaMixer(cfg)
        self.norm2 = nn.LayerNorm(cfg.d_model, eps=1e-5)
        self.mlp = MLP(cfg)

    def forward(self, r):
        r = r + self.mixer(self.norm1(r))
        return r + self.mlp(self.norm2(r))


class Embeddings(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.word_embeddings = nn.Embedding(cfg.padded_vocab, cfg.d_model)

    def forward(self, ids):
        return self.word_embeddings(ids)


class Backbone(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.embeddings = Embeddings(cfg)
        self.layers = nn.ModuleList([Block(cfg) for _ in range(cfg.n_layer)])
        self.ln_f = nn.LayerNorm(cfg.d_model, eps=cfg.layer_norm_epsilon)

    def forward(self, ids):
        r = self.embeddings(ids)
        for block in self.layers:
            r = block(r)
        return self.ln_f(r)


class HyenaDNA(nn.Module):
    """ids (B, L) -> hidden (B, L, D) after the final norm, logits (B, L, 16)."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.backbone = Backbone(cfg)
        self.lm_head = nn.Linear(cfg.d_model, cfg.padded_vocab, bias=False)
        self.reset_parameters()

    def reset_parameters(self):
        """Normal weights, zero biases; the last Linear of each branch is scaled
        down by the root of the number of branches.  The filter MLP keeps torch's
        uniform start (rough filters) unless filter_init is "normal"; "multiscale"
        multiplies the rows of its first Linear by factors up to max_seq_len / TINY, so
        that some units change over few bases although positions run from 0 to 1."""
        std = self.cfg.initializer_range
        branches = math.sqrt(2 * self.cfg.n_layer)
        nn.init.normal_(self.backbone.embeddings.word_embeddings.weight, std=std)
        nn.init.normal_(self.lm_head.weight, std=std)
        for block in self.backbone.layers:
            m = block.mixer
            for linear in (m.in_proj, m.out_proj, block.mlp.fc1, block.mlp.fc2):
                last = linear is m.out_proj or linear is block.mlp.fc2
                nn.init.normal_(linear.weight, std=std / branches if last else std)
                nn.init.zeros_(linear.bias)
            if self.cfg.filter_init == "multiscale":
                first = m.filter_fn.implicit_filter._modules["0"]
                top = math.log(max(self.cfg.max_seq_len / TINY, 1.0))
                scale = torch.exp(torch.linspace(0.0, top, first.out_features))
                with torch.no_grad():
                    first.weight.mul_(scale[:, None])
                    first.bias.mul_(scale)
            if self.cfg.filter_init == "normal":
                for linear in m.filter_fn.implicit_filter.modules():
                    if isinstance(linear, nn.Linear):
                        nn.init.normal_(linear.weight, std=std)
                        if linear.bias is not None:
                            nn.init.zeros_(linear.bias)

    def forward(self, ids):
        if ids.shape[1] > self.cfg.max_seq_len:
            raise ValueError(
                "%d tokens exceed max_seq_len %d" % (ids.shape[1], self.cfg.max_seq_len)
            )
        hidden = self.backbone(ids)
        return hidden, self.lm_head(hidden)

    # ------------------------------------------------------------ files

    def exact_filters(self):
        """For inference: see LongFilter.exact."""
        for block in self.backbone.layers:
            block.mixer.filter_fn.exact = True
        return self

    def tensors(self):
        """All tensors under their published names."""
        state = self.state_dict()
        return {
            (k if k.startswith("lm_head.") else "hyena." + k): v for k, v in state.items()
        }

    def load_tensors(self, tensors):
        """Strict but for: a prefix of another save, freq listed again at 3 and 5,
        an absent lm_head (tied to the embedding) and absent z, t, deltas (formulas)."""
        state = {}
        for name, value in tensors.items():
            if name.startswith("hyena."):
                name = name[len("hyena.") :]
            if name.endswith(".freq") and ".implicit_filter.1." not in name:
                continue
            state[name] = value
        own = self.state_dict()
        if "lm_head.weight" not in state:
            state["lm_head.weight"] = state["backbone.embeddings.word_embeddings.weight"]
        for name in own:
            if name.endswith((".pos_emb.z", ".pos_emb.t", ".modulation.deltas")):
                state.setdefault(name, own[name])
        for name, value in own.items():
            if name in state and state[name].shape != value.shape:
                raise ValueError("%s: shape %s, expected %s" % (
                    name, tuple(state[name].shape), tuple(value.shape)))
        self.load_state_dict(state)

    @classmethod
    def load(cls, directory, dtype=torch.float32, filter_shift=None):
        cfg = Config.read(os.path.join(directory, "config.json"))
        if filter_shift is not None:
            cfg.filter_shift = filter_shift
        model = cls(cfg)
        model.load_tensors(read_safetensors(os.path.join(directory, "model.safetensors")))
        return model.to(dtype).eval()

    def save(self, directory):
        os.makedirs(directory, exist_ok=True)
        write_safetensors(os.path.join(directory, "model.safetensors"), self.tensors())
        path = os.path.join(directory, "config.json")
        with open(path + ".tmp", "w") as f:
            json.dump(self.cfg.to_dict(), f, indent=2)
            f.write("\n")
        os.replace(path + ".tmp", path)


def log_likelihood(logits, ids):
    """Sum over n < L-1 of log softmax (all 16 classes) of the next token."""
    if ids.shape[-1] < 2:
        return 0.0
    logp = F.log_softmax(logits[:-1].double(), dim=-1)
    return float(logp.gather(1, ids[1:, None]).sum())


def main():
    p = argparse.ArgumentParser(
        description="Print the log-likelihood of each sequence under a HyenaDNA model.")
    p.add_argument("model", help="directory with config.json and model.safetensors")
    p.add_argument("fasta")
    p.add_argument("--float64", action="store_true", help="compute in double precision")
    p.add_argument("--filter-shift", type=float, help="override config.json")
    args = p.parse_args()
    model = HyenaDNA.load(args.model, torch.float64 if args.float64 else torch.float32,
                          args.filter_shift)
    with torch.no_grad():
        for name, seq in read_fasta(args.fasta):
            ids = torch.tensor(tokenize(seq), dtype=torch.int64)
            if len(ids) == 0:
                print("%s\t0\t0.000000" % name)
                continue
            _, logits = model(ids[None])
            print("%s\t%d\t%.6f" % (name, len(ids), log_likelihood(logits[0], ids)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
