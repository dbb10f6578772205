#!/usr/bin/env python3
"""hyenadna_attention.py - how test-data/hybrid/hyenadna-attention was made: a HyenaDNA two of whose four
layers are attention, random weights, and what a plain float64 evaluation of it gives.

Written from the formulas of docs/hyenadna.md (sections 2.1 to 2.6) and of flash-attention's MHA, with
numpy alone; the long convolution is its sum, attention its full matrix of scores. Usage: hyenadna_attention.py DIRECTORY
Prints how far the result moves under mistakes that a reader of such files could make.
"""
import json
import os
import struct
import sys

import numpy as np

D, INNER, LAYERS, M = 32, 64, 4, 258
ORDER, FEATURES, MLPS, V = 16, 5, 2, 16
ATTENTION, HEADS, ROTARY, BASE = [1, 3], 4, 4, 10000.0
SHIFT = 0.05
LENGTHS = [1, 2, 130, 258]

CONFIG = {
    "d_model": D, "n_layer": LAYERS, "d_inner": INNER, "vocab_size": 12,
    "resid_dropout": 0.0, "embed_dropout": 0.1, "pad_vocab_size_multiple": 8,
    "residual_in_fp32": True, "return_hidden_state": True, "fused_mlp": False,
    "fused_dropout_add_ln": True, "max_position_embeddings": 0,
    "attn_layer_idx": ATTENTION,
    "attn_cfg": {"num_heads": HEADS, "dropout": 0.0, "use_flash_attn": True,
                 "fused_bias_fc": False, "causal": True, "rotary_emb_dim": ROTARY},
    "layer": {"_name_": "hyena", "emb_dim": FEATURES, "filter_order": ORDER,
              "local_order": 3, "l_max": M, "modulate": True, "w": 10, "lr": 6e-4,
              "wd": 0.0, "lr_pos_emb": 0.0},
}


def make_tensors(random):
    """Names as in the training code's checkpoints, without its prefix; float32."""
    tensors = {}

    def put(name, shape, scale, mean=0.0):
        tensors[name] = (mean + scale * random.standard_normal(shape)).astype(np.float32)

    def linear(name, rows, columns, gain=1.0, bias=True):
        put(name + ".weight", (rows, columns), gain / np.sqrt(columns))
        if bias:
            put(name + ".bias", (rows,), 0.1)

    def norm(name):
        put(name + ".weight", (D,), 0.1, 1.0)
        put(name + ".bias", (D,), 0.1)

    put("embeddings.word_embeddings.weight", (V, D), 1.0)
    for layer in range(LAYERS):
        p = "layers.%d." % layer
        norm(p + "norm1")
        norm(p + "norm2")
        linear(p + "mlp.fc1", INNER, D)
        linear(p + "mlp.fc2", D, INNER)
        linear(p + "mixer.out_proj", D, D)
        if layer in ATTENTION:
            linear(p + "mixer.Wqkv", 3 * D, D, 1.6)
            if layer == ATTENTION[0]:  # the other file form leaves it out
                power = np.arange(0, ROTARY, 2) / ROTARY
                tensors[p + "mixer.rotary_emb.inv_freq"] = (BASE ** -power).astype(np.float32)
            continue
        linear(p + "mixer.in_proj", 3 * D, D)
        put(p + "mixer.short_filter.weight", (3 * D, 1, 3), 0.6)
        put(p + "mixer.short_filter.bias", (3 * D,), 0.1)
        f = p + "mixer.filter_fn."
        put(f + "bias", (D,), 1.0)
        n = np.arange(M, dtype=np.float64)
        t = n / (M - 1)
        bands = (FEATURES - 1) // 2
        w = np.outer(2 * np.pi * n / M, np.linspace(1e-4, bands - 1, bands))
        z = np.concatenate([t[:, None], np.cos(w), -np.sin(w)], axis=1)
        tensors[f + "pos_emb.z"] = z[None].astype(np.float32)
        tensors[f + "pos_emb.t"] = t[None, :, None].astype(np.float32)
        linear(f + "implicit_filter.0", ORDER, FEATURES)
        put(f + "implicit_filter.1.freq", (1, ORDER), 1.0, 10.0)
        for k in range(MLPS):
            linear(f + "implicit_filter.%d" % (2 * k + 2), ORDER, ORDER)
            tensors[f + "implicit_filter.%d.freq" % (2 * k + 3)] = \
                tensors[f + "implicit_filter.1.freq"]
        linear(f + "implicit_filter.%d" % (2 * MLPS + 2), D, ORDER, 1.0, False)
        delta = np.linspace(np.log(0.01) / 1.5, np.log(0.01) / 0.3, D)
        tensors[f + "modulation.deltas"] = delta[None, None].astype(np.float32)
    norm("ln_f")
    return tensors


class Network:
    def __init__(self, tensors, rotary="halves", causal=True, scale=None):
        self.t = {name: a.astype(np.float64) for name, a in tensors.items()}
        self.rotary, self.causal, self.scale = rotary, causal, scale

    def norm(self, name, x):
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-5) * self.t[name + ".weight"] + \
            self.t[name + ".bias"]

    def linear(self, name, x):
        return x @ self.t[name + ".weight"].T + self.t.get(name + ".bias", 0.0)

    def filter(self, f):
        freq = self.t[f + "implicit_filter.1.freq"]
        a = self.t[f + "pos_emb.z"][0]
        for k in range(MLPS + 1):
            a = np.sin(freq * self.linear(f + "implicit_filter.%d" % (2 * k), a))
        g = self.linear(f + "implicit_filter.%d" % (2 * MLPS + 2), a)
        t = self.t[f + "pos_emb.t"][0]
        return g * (np.exp(-t * np.abs(self.t[f + "modulation.deltas"][0])) + SHIFT)

    def operator(self, p, x):
        length = len(x)
        u = np.concatenate([np.zeros((2, 3 * D)), self.linear(p + "in_proj", x)])
        w = self.t[p + "short_filter.weight"][:, 0]
        u = sum(u[k:k + length] * w[:, k] for k in range(3)) + self.t[p + "short_filter.bias"]
        x0, x1, v = u[:, :D], u[:, D:2 * D], u[:, 2 * D:]
        v = v * x1
        h = self.filter(p + "filter_fn.")
        y = self.t[p + "filter_fn.bias"] * v
        for n in range(length):
            y[n] += (h[:n + 1][::-1] * v[:n + 1]).sum(0)
        return self.linear(p + "out_proj", y * x0)

    def turn(self, x):
        """Rotate the first ROTARY numbers of each head; x: (positions, heads, size)."""
        if self.rotary == "none":
            return x
        angle = np.outer(np.arange(len(x)), BASE ** (-np.arange(0, ROTARY, 2) / ROTARY))
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        half = ROTARY // 2
        if self.rotary == "halves":
            one, two = slice(0, half), slice(half, ROTARY)
        else:
            one, two = slice(0, ROTARY, 2), slice(1, ROTARY, 2)
        y = x.copy()
        y[..., one] = x[..., one] * c - x[..., two] * s
        y[..., two] = x[..., one] * s + x[..., two] * c
        return y

    def attention(self, p, x):
        length, size = len(x), D // HEADS
        qkv = self.linear(p + "Wqkv", x).reshape(length, 3, HEADS, size)
        q, k, v = self.turn(qkv[:, 0]), self.turn(qkv[:, 1]), qkv[:, 2]
        score = np.einsum("ihd,jhd->hij", q, k) * (self.scale or 1 / np.sqrt(size))
        if self.causal:
            score = score + np.triu(np.full((length, length), -10000.0), 1)
        score = np.exp(score - score.max(-1, keepdims=True))
        score /= score.sum(-1, keepdims=True)
        return self.linear(p + "out_proj", np.einsum("hij,jhd->ihd", score, v).reshape(length, D))

    def run(self, ids):
        r = self.t["embeddings.word_embeddings.weight"][ids]
        for layer in range(LAYERS):
            p = "layers.%d." % layer
            mixer = self.attention if layer in ATTENTION else self.operator
            r = r + mixer(p + "mixer.", self.norm(p + "norm1", r))
            a = self.linear(p + "mlp.fc1", self.norm(p + "norm2", r))
            a = 0.5 * a * (1 + np.tanh(0.7978845608028654 * (a + 0.044715 * a ** 3)))
            r = r + self.linear(p + "mlp.fc2", a)
        hidden = self.norm("ln_f", r)
        return hidden, hidden @ self.t["embeddings.word_embeddings.weight"].T


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, a in tensors.items():
        header["model.backbone." + name] = {"dtype": "F32", "shape": list(a.shape),
                                            "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            file.write(np.ascontiguousarray(a).astype("<f4").tobytes())


def main():
    directory = sys.argv[1]
    random = np.random.Generator(np.random.PCG64(20240607))
    tensors = make_tensors(random)
    network = Network(tensors)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=2)
        file.write("\n")
    write_safetensors(os.path.join(directory, "model.safetensors"), tensors)
    for k, length in enumerate(LENGTHS):
        ids = random.integers(7, 12, length).astype(np.int32)
        hidden, logits = network.run(ids)
        for name, a in (("ids", ids), ("hidden", hidden.astype(np.float32)),
                        ("logits", logits.astype(np.float32))):
            np.save(os.path.join(directory, "%s_%d.npy" % (name, k)), a)
    print("hidden: largest %.2f, logits: largest %.2f" % (abs(hidden).max(), abs(logits).max()))
    for change in ({"rotary": "none"}, {"rotary": "interleaved"}, {"causal": False},
                   {"scale": 1 / np.sqrt(D)}):
        moved = abs(Network(tensors, **change).run(ids)[0] - hidden).max()
        print("%s moves hidden values by up to %.2f" % (change, moved))


if __name__ == "__main__":
    main()
