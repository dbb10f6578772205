#!/usr/bin/env python3
"""Heads for tests, and what they must answer, in plain Python.

  head.py make DIR MODEL_DIR WIDTH [key=value ...]   write head.json and head.safetensors with made-up weights
        keys: classes=other,promoter parts=1 pool=mean strands=forward hidden=0 special_tokens=none layer=N
              window=0 step=0 scan_strands=forward background=none seed=1 scale=8 output=softmax sha256=...
              center=VECTORS.npy: a bias that makes classes equally likely at the mean of these vectors
              nan=yes: the last output weight is NaN
  head.py answer DIR VECTORS.npy ROWS.tsv             compare a classify table with the head applied to the
        vectors of embed (one row a sequence, or `parts` rows): largest difference, and whether it is < 2e-6.
        DIR may be a model directory with a tensor score.weight and no head.json
  head.py merge BACKGROUND ROWS.tsv [MIN_PROB [ONLY]]  merge the rows of a table of windows, and print what
        classify --merge must: all columns but the provenance
"""

import hashlib
import json
import math
import os
import random
import struct
import sys


def write_tensors(path, tensors):
    header, body, offset = {}, b"", 0
    for name, (shape, values) in tensors.items():
        raw = struct.pack("<%df" % len(values), *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def read_tensors(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    out = {}
    for name, e in header.items():
        if name != "__metadata__":
            a, b = e["data_offsets"]
            out[name] = (e["shape"], struct.unpack("<%df" % ((b - a) // 4), data[8 + n + a:8 + n + b]))
    return out


def make(directory, model, width, options):
    o = dict(classes="other,promoter", parts="1", pool="mean", strands="forward", hidden="0",
             special_tokens="none", layer="", window="0", step="0", scan_strands="forward",
             background="none", seed="1", scale="8", output="softmax", sha256="", center="", nan="")
    for option in options:
        key, value = option.split("=", 1)
        assert key in o, key
        o[key] = value
    config = json.load(open(os.path.join(model, "config.json")))
    layers = config.get("n_layer", config.get("num_layers"))
    classes = o["classes"].split(",")
    columns = width * (2 if o["strands"] == "concat" else 1)
    features, hidden = columns * int(o["parts"]), int(o["hidden"])
    sha = o["sha256"] or hashlib.sha256(open(os.path.join(model, "model.safetensors"), "rb").read()).hexdigest()
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "head.json"), "w") as f:
        json.dump({"format": "crocuta-head-1", "backbone": {"name": os.path.basename(model), "sha256": sha},
                   "classes": classes, "background": None if o["background"] == "none" else o["background"],
                   "layer": int(o["layer"] or layers), "pool": o["pool"], "parts": int(o["parts"]),
                   "strands": o["strands"], "special_tokens": o["special_tokens"], "hidden": hidden,
                   "output": o["output"], "window": int(o["window"]), "step": int(o["step"]),
                   "scan_strands": o["scan_strands"], "training": {}}, f)
    random.seed(int(o["seed"]))

    def draw(*shape):
        count = math.prod(shape)
        return list(shape), [random.gauss(0, float(o["scale"]) / math.sqrt(shape[-1])) for _ in range(count)]

    tensors = {}
    if hidden:
        tensors["hidden.weight"], tensors["hidden.bias"] = draw(hidden, features), draw(hidden)
    tensors["output.weight"] = draw(len(classes), hidden or features)
    tensors["output.bias"] = draw(len(classes))
    if o["center"]:
        rows = read_npy(o["center"])
        mean = [math.fsum(column) / len(rows) for column in zip(*rows)]
        tensors["output.bias"] = [len(classes)], [-v for v in linear(
            tensors["output.weight"], ([len(classes)], [0.0] * len(classes)), mean)]
    if o["nan"]:
        tensors["output.weight"][1][-1] = math.nan
    write_tensors(os.path.join(directory, "head.safetensors"), tensors)


def read_npy(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<H", data[8:10])
    header = eval(data[10:10 + n].decode())  # our own file
    rows, columns = header["shape"]
    values = struct.unpack("<%df" % (rows * columns), data[10 + n:])
    return [values[i * columns:(i + 1) * columns] for i in range(rows)]


def linear(weight, bias, x):
    (rows, columns), w = weight
    return [math.fsum(w[r * columns + c] * x[c] for c in range(columns)) + bias[1][r] for r in range(rows)]


def tensor_head(model):
    config = json.load(open(os.path.join(model, "config.json")))
    weight = read_tensors(os.path.join(model, "model.safetensors"))["score.weight"]
    classes = weight[0][0]
    labels = config.get("id2label", {str(i): "class%d" % i for i in range(classes)})
    head = {"parts": 1, "hidden": 0, "classes": [labels[str(i)] for i in range(classes)],
            "output": "sigmoid" if config.get("problem_type") == "multi_label_classification" else "softmax"}
    return head, {"output.weight": weight, "output.bias": ([classes], [0.0] * classes)}


def answer(directory, vectors, table):
    if os.path.exists(os.path.join(directory, "head.json")):
        head = json.load(open(os.path.join(directory, "head.json")))
        t = read_tensors(os.path.join(directory, "head.safetensors"))
    else:
        head, t = tensor_head(directory)
    rows, parts = read_npy(vectors), head["parts"]
    lines = [l.rstrip("\n").split("\t") for l in open(table) if not l.startswith("#")]
    assert len(rows) == parts * len(lines), (len(rows), len(lines))
    worst = 0.0
    for i, line in enumerate(lines):
        x = [v for r in rows[i * parts:(i + 1) * parts] for v in r]
        if head["hidden"]:
            z = linear(t["hidden.weight"], t["hidden.bias"], x)
            x = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v ** 3))) for v in z]
        z = linear(t["output.weight"], t["output.bias"], x)
        if head["output"] == "sigmoid":
            p = [1 / (1 + math.exp(-v)) for v in z]
        else:
            e = [math.exp(v - max(z)) for v in z]
            p = [v / sum(e) for v in e]
        got = [float(v) for v in line[7:7 + len(p)]]
        best = max(range(len(p)), key=lambda c: got[c])
        assert line[6] == head["classes"][best], line
        assert line[4] == str(int(1000 * got[best] + 0.5)) or abs(1000 * got[best] % 1 - 0.5) < 0.01, line
        worst = max([worst] + [abs(a - b) for a, b in zip(got, p)])
    print("%d rows, worst difference %.2g" % (len(lines), worst))
    return 0 if worst < 2e-6 and lines else 1


def merge(background, table, min_prob="0", only=""):
    lines = [l.rstrip("\n").split("\t") for l in open(table) if not l.startswith("##")]
    header, lines, wanted = lines[0], lines[1:], only.split(",") if only else None
    classes = [name[2:] for name in header[7:]]
    assert lines
    out = []
    for strand in "+-":
        call = None
        for line in (l for l in lines if l[5] == strand):
            name = line[6]
            p = float(line[7 + classes.index(name)])
            start, end = int(line[1]), int(line[2])
            if name == background or p < float(min_prob) or (wanted and name not in wanted):
                call = None
                continue
            if not call or call[0] != line[0] or call[6] != name or start > call[2]:
                call = [line[0], start, end, name, None, strand, name, None, 0, None, None]
                best = -1.0
                out.append(call)
            call[2] = max(call[2], end)
            call[8] += 1
            if p > best:
                best = p
                call[4], call[7], call[9], call[10] = line[4], line[7:], line[1], line[2]
    contigs = []
    for line in lines:
        if line[0] not in contigs:
            contigs.append(line[0])
    out.sort(key=lambda c: (contigs.index(c[0]), c[1], c[2], c[5]))
    print("\t".join(header + ["windows", "best_start", "best_end"]))
    for c in out:
        print(*c[:7], *c[7], *c[8:], sep="\t")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
    elif sys.argv[1] == "merge":
        merge(*sys.argv[2:])
    else:
        sys.exit(answer(*sys.argv[2:5]))
