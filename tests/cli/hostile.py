#!/usr/bin/env python3
"""hostile.py - spoil a copy of a good model directory: hostile.py KIND GOOD_MODEL NEW_DIR"""
import json
import os
import shutil
import struct
import sys

kind, good, target = sys.argv[1:]
os.mkdir(target)
config = json.load(open(f"{good}/config.json"))
raw = open(f"{good}/model.safetensors", "rb").read()
(size,) = struct.unpack("<Q", raw[:8])
header, data = json.loads(raw[8:8 + size]), bytearray(raw[8 + size:])
names = sorted(n for n in header if n != "__metadata__")
first = names[0]
text = None


def poke(name, index, value):
    struct.pack_into("<f", data, header[name]["data_offsets"][0] + 4 * index, value)


if kind == "header-too-long":
    raw = struct.pack("<Q", 2**63 - 1) + raw[8:]
elif kind == "header-zero":
    raw = struct.pack("<Q", 0) + raw[8:]
elif kind == "tiny":
    raw = raw[:5]
elif kind == "empty":
    raw = b""
elif kind == "truncated":
    raw = raw[:-1000]
elif kind == "trailing":
    raw = raw + b"PK\x03\x04"
elif kind == "no-json":
    raw = raw[:8] + b"[" + raw[9:]
elif kind == "deep":
    text = '{"a":' * 100000
elif kind == "duplicate":
    text = json.dumps(header)[:-1] + f', "{first}": ' + json.dumps(header[first]) + "}"
elif kind == "overlap":
    other = next(n for n in names if n != first and header[n]["shape"] == header[first]["shape"])
    header[first]["data_offsets"] = header[other]["data_offsets"]
    text = json.dumps(header)
elif kind == "past-end":
    header[first]["data_offsets"][1] += 1 << 40
    text = json.dumps(header)
elif kind == "reversed":
    header[first]["data_offsets"].reverse()
    text = json.dumps(header)
elif kind == "shape-wraps":
    header[first]["shape"] = [2**32, 2**32]
    text = json.dumps(header)
elif kind == "float-offset":
    header[first]["data_offsets"][0] = 1.5
    text = json.dumps(header)
elif kind == "unknown-dtype":
    header[first]["dtype"] = "F8_E4M3"
    text = json.dumps(header)
elif kind == "missing-tensor":
    # renamed, so that the bytes stay covered
    header = {("extra" if n == names[-1] else n): v for n, v in header.items()}
    text = json.dumps(header)
elif kind == "transposed":
    name = next(n for n in names if n.endswith("mlp.fc1.weight"))
    header[name]["shape"].reverse()
    text = json.dumps(header)
elif kind == "nan":
    name = next(n for n in names if n.endswith("mlp.fc1.weight"))
    poke(name, 7, float("nan"))
elif kind == "huge":
    name = next(n for n in names if n.endswith("ln_f.weight"))
    for i in range(header[name]["shape"][0]):
        poke(name, i, 1e7)
elif kind == "pickle":
    raw = b"PK\x03\x04" + b"archive/data.pkl" * 4
elif kind == "config-list":
    config = [config]
elif kind == "config-negative":
    config["n_layer"] = -2
elif kind == "config-huge":
    config["n_layer"] = 1000000000
elif kind == "config-type":
    config["model_type"] = "striped_hyena"
elif kind != "good":
    sys.exit(f"unknown kind {kind}")

if kind in ("nan", "huge"):
    raw = raw[:8 + size] + bytes(data)
if text is not None:
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % 8)
    raw = struct.pack("<Q", len(encoded)) + encoded + bytes(data)
open(f"{target}/model.safetensors", "wb").write(raw)
json.dump(config, open(f"{target}/config.json", "w"))
for name in os.listdir(good):
    if name.endswith(".json") and name not in ("config.json", "selftest.json"):
        shutil.copy(f"{good}/{name}", target)
