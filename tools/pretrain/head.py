"""Classifier heads of the format crocuta-head-1: reading, writing, applying.

A sequence of L bases is cut into `parts` runs of ceil(L / parts) bases; the vectors of each
run are pooled and joined in order.  Row i is base i on both strands, so a part holds the same
bases whichever strand is read; "last" and "first" are meant in reading direction, so that
"last" of the reverse strand is the run's lowest base.  Each strand is pooled by itself, then
averaged ("both") or joined ("concat").

Right padding is exact: the model is causal, and padded positions belong to no part.
"""

import hashlib
import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

from hyenadna import FIRST_BASE, PAD, read_safetensors, write_safetensors

FORMAT = "crocuta-head-1"
POOLS = ("mean", "last", "max", "first", "sum")
STRANDS = ("forward", "reverse", "both", "concat")


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def flip(ids, lengths):
    """Reverse complements, still padded on the right."""
    at = torch.arange(ids.shape[1], device=ids.device)
    source = lengths[:, None] - 1 - at
    out = ids.gather(1, source.clamp(min=0))
    base = (out >= FIRST_BASE) & (out < FIRST_BASE + 4)
    out = torch.where(base, 2 * FIRST_BASE + 3 - out, out)
    return torch.where(source >= 0, out, torch.full_like(out, PAD))


def part_of(lengths, parts, width, reverse):
    """(B, width): the part of each position in reading order, -1 in the padding."""
    at = torch.arange(width, device=lengths.device)
    base = lengths[:, None] - 1 - at if reverse else at.expand(len(lengths), width)
    size = torch.div(lengths + parts - 1, parts, rounding_mode="floor")[:, None]
    part = torch.div(base, size, rounding_mode="floor")
    return torch.where(at < lengths[:, None], part, torch.full_like(part, -1))


def pool(hidden, part, parts, kind):
    """(B, L, D) to (B, parts, D)."""
    numbers = torch.arange(parts, device=part.device)
    inside = part[:, None, :] == numbers[None, :, None]  # (B, parts, L)
    if kind in ("mean", "sum"):
        weight = inside.to(hidden.dtype)
        if kind == "mean":
            weight = weight / weight.sum(2, keepdim=True)
        return torch.bmm(weight, hidden)
    if kind == "max":
        lowest = torch.finfo(hidden.dtype).min
        return torch.stack([hidden.masked_fill(~inside[:, k, :, None], lowest).amax(1)
                            for k in range(parts)], 1)
    at = torch.arange(hidden.shape[1], device=part.device)
    rank = at + 1 if kind == "last" else hidden.shape[1] - at
    where = (inside * rank).argmax(2)
    return hidden.gather(1, where[:, :, None].expand(-1, -1, hidden.shape[2]))


class Form:
    """What a head reads of the model's vectors."""

    def __init__(self, layer, pool="mean", parts=1, strands="forward"):
        if pool not in POOLS or strands not in STRANDS or not 1 <= parts <= 64:
            raise ValueError("no such head: pool %s, strands %s, %d parts" % (pool, strands, parts))
        self.layer, self.pool, self.parts, self.strands = layer, pool, parts, strands

    def columns(self, d_model):
        return self.parts * d_model * (2 if self.strands == "concat" else 1)

    def shortest(self):
        """Bases that a sequence needs so that no part is empty."""
        return (self.parts - 1) * self.parts + 1

    def features(self, vectors, ids, lengths):
        """(B, F) from vectors(ids) -> (B, L, D), one call for all strands."""
        wanted = {"forward": (False,), "reverse": (True,)}.get(self.strands, (False, True))
        fed = torch.cat([flip(ids, lengths) if r else ids for r in wanted])
        hidden = vectors(fed).float().split(len(ids))
        pooled = [pool(h, part_of(lengths, self.parts, ids.shape[1], r), self.parts, self.pool)
                  for h, r in zip(hidden, wanted)]
        if self.strands == "both":
            pooled = [0.5 * pooled[0] + 0.5 * pooled[1]]
        return torch.cat(pooled, 2).flatten(1)


class Head(nn.Module):
    """Features to logits: one Linear, or two with GELU between."""

    def __init__(self, features, classes, hidden=0):
        super().__init__()
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.output = nn.Linear(hidden or features, classes)

    def forward(self, x):
        if self.hidden is not None:
            x = F.gelu(self.hidden(x), approximate="tanh")
        return self.output(x)

    def cool(self, temperature):
        """Divide the logits by a temperature for good."""
        with torch.no_grad():
            self.output.weight /= temperature
            self.output.bias /= temperature


def vectors_of(model, layer):
    """The function ids -> vectors after `layer` blocks, after the final norm for the last."""
    backbone = model.backbone
    if layer == len(backbone.layers):
        return backbone

    def vectors(ids):
        r = backbone.embeddings(ids)
        for block in backbone.layers[:layer]:
            r = block(r)
        return r

    return vectors


class fixed_filters:
    """While this is entered, the model's filters are evaluated in float64, once."""

    def __init__(self, model, length):
        self.mixers = [block.mixer for block in model.backbone.layers]
        self.length = length

    def __enter__(self):
        for mixer in self.mixers:
            fn = mixer.filter_fn
            before, fn.exact = fn.exact, True
            with torch.no_grad():
                h = fn(self.length)
            fn.exact = before
            mixer.filter = lambda length, h=h: h[:, :length].contiguous()

    def __exit__(self, *_):
        for mixer in self.mixers:
            del mixer.filter


def write_head(directory, head, record):
    """head.json and head.safetensors; `record` has all of head.json but the format and hidden."""
    os.makedirs(directory, exist_ok=True)
    write_safetensors(os.path.join(directory, "head.safetensors"), head.state_dict())
    out = {"format": FORMAT}
    out.update(record)
    path = os.path.join(directory, "head.json")
    with open(path + ".tmp", "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)


def read_head(directory, model_file):
    """(record, form, head); refused when it was made for another backbone."""
    with open(os.path.join(directory, "head.json")) as f:
        record = json.load(f)
    if record.get("format") != FORMAT:
        raise ValueError("%s: head.json is not of format %s" % (directory, FORMAT))
    if record["backbone"]["sha256"] != sha256_of(model_file):
        raise ValueError("%s: this head was made for another model.safetensors" % directory)
    if record.get("special_tokens", "none") != "none":
        raise ValueError("%s: special tokens are not read here" % directory)
    tensors = read_safetensors(os.path.join(directory, "head.safetensors"))
    classes, width = tensors["output.weight"].shape
    hidden = record.get("hidden", 0)
    features = tensors["hidden.weight"].shape[1] if hidden else width
    if classes != len(record["classes"]):
        raise ValueError("%s: %d rows for %d classes" % (
            directory, classes, len(record["classes"])))
    head = Head(features, classes, hidden)
    head.load_state_dict({k: v.float() for k, v in tensors.items()})
    form = Form(record["layer"], record["pool"], record["parts"], record["strands"])
    return record, form, head.eval()
