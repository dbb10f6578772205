#!/usr/bin/env python3
"""Tests of convert-checkpoint: small checkpoints built by hand, and by PyTorch where there is one.

What is written must be readable by crocuta where run-tests says which one that is.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from test_convert_ckpt import Call, G, Pid, Writer, ordered, zip_bytes

FIXTURE = os.path.join(HERE, "..", "test-data", "golden", "evo2-d128-n8")
loader = importlib.machinery.SourceFileLoader(
    "convert_checkpoint", os.path.join(HERE, "convert-checkpoint"))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(tool)

# Writes the fixture's weights, matrices in bfloat16, as the published files are.
TORCH_SCRIPT = """
import io, json, struct, sys
from collections import OrderedDict
import torch
raw = open(sys.argv[1], "rb").read()
n, = struct.unpack("<Q", raw[:8])
header = json.loads(raw[8:8 + n])
state = OrderedDict()
for name, item in header.items():
    if name == "__metadata__":
        continue
    a, b = item["data_offsets"]
    t = torch.frombuffer(bytearray(raw[8 + n + a:8 + n + b]), dtype=torch.float32)
    t = t.reshape(item["shape"])
    keep = any(s in name for s in ("log_poles", "residues", "inv_freq"))
    state[name] = t if keep else t.to(torch.bfloat16)
    if name.endswith("projections.weight"):
        extra = io.BytesIO()
        torch.save({"scale_fwd": torch.ones(3), "recipe": "DelayedScaling"}, extra)
        state[name.replace("weight", "_extra_state")] = extra
state["unembed.weight"] = state["embedding_layer.weight"]
torch.save(state, sys.argv[2])
"""


def tensor(storage, numel, shape, kind="BFloat16Storage", offset=0):
    stride, step = [], 1
    for n in reversed(shape):
        stride.insert(0, step)
        step *= n
    return Call(G("torch._utils", "_rebuild_tensor_v2"),
                Pid(("storage", G("torch", kind), str(storage), "cuda:0", numel)),
                offset, tuple(shape), tuple(stride), False, ordered({}))


def made_checkpoint(layers=32, width=2, inner=3):
    """(bytes of a .pt, {name: (dtype, shape, bytes)}): names of an Evo-2, sizes of none."""
    state, storages, expected = {}, [], {}

    def add(name, shape, kind="BFloat16Storage", dtype="BF16", size=2):
        count = 1
        for n in shape:
            count *= n
        raw = bytes((len(storages) * 7 + i) % 251 for i in range(count * size))
        state[name] = tensor(len(storages), count, shape, kind)
        storages.append(raw)
        expected[name] = (dtype, list(shape), raw)

    add("embedding_layer.weight", (5, width))
    for i in range(layers):
        add("blocks.%d.mlp.l1.weight" % i, (inner, width))
        add("blocks.%d.filter.log_poles" % i, (width, 2, 1), "FloatStorage", "F32", 4)
        # pickled FP8 state; what it would call when it is read must never be called
        state["blocks.%d.projections._extra_state" % i] = Call(
            G("_io", "BytesIO"), new=True, state=(Call(G("os", "system"), "exit 1"), 0, None))
    expected["unembed.weight"] = expected["embedding_layer.weight"]
    state["unembed.weight"] = state["embedding_layer.weight"]
    entries = [("evo/data.pkl", Writer().dump(ordered(state)))]
    entries += [("evo/data/%d" % i, raw) for i, raw in enumerate(storages)]
    return zip_bytes(entries + [("evo/version", b"3\n")]), expected


def read_safetensors(path):
    with open(path, "rb") as f:
        raw = f.read()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"],
                   raw[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


class ConvertCheckpoint(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.out = os.path.join(self.root, "model")

    def path(self, name, data=None):
        path = os.path.join(self.root, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        return path

    def convert(self, *arguments):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            status = tool.main([str(a) for a in arguments])
        self.message = err.getvalue()
        return status

    def good(self, *arguments):
        self.assertEqual(self.convert(*arguments), 0, self.message)

    def bad(self, status, text, *arguments):
        self.assertEqual(self.convert(*arguments), status)
        self.assertIn(text, self.message)
        self.assertEqual(len(self.message.strip().split("\n")), 1)
        left = os.listdir(self.out) if os.path.isdir(self.out) else []
        self.assertEqual([n for n in left if n.startswith(".")], [])

    def config(self):
        return self.path("fields.json", b'{"hidden_size": 2}')

    def test_one_file(self):
        raw, expected = made_checkpoint()
        self.good(self.path("a.pt", raw), self.out, "--config", self.config())
        self.assertEqual(sorted(os.listdir(self.out)), ["config.json", "model.safetensors"])
        self.assertEqual(read_safetensors(os.path.join(self.out, "model.safetensors")), expected)
        self.assertIn("32 states of FP8 products left out", self.message)

    def test_shards(self):
        raw, expected = made_checkpoint()
        self.good(self.path("a.pt", raw), self.out, "--config", self.config(), "--shard-bytes", 100)
        with open(os.path.join(self.out, "model.safetensors.index.json")) as f:
            index = json.load(f)
        self.assertEqual(set(index["weight_map"]), set(expected))
        found = {}
        for name in sorted(set(index["weight_map"].values())):
            part = read_safetensors(os.path.join(self.out, name))
            self.assertLessEqual(sum(len(t[2]) for t in part.values()), 100)
            self.assertEqual({index["weight_map"][n] for n in part}, {name})
            found.update(part)
        self.assertEqual(found, expected)
        self.assertGreater(len(os.listdir(self.out)), 4)
        # one file in their place, and nothing of them left
        self.bad(10, "exists already", self.path("a.pt"), self.out, "--config", self.config())
        self.good(self.path("a.pt"), self.out, "--config", self.config(), "-f")
        self.assertEqual(sorted(os.listdir(self.out)), ["config.json", "model.safetensors"])

    def test_parts(self):
        raw, expected = made_checkpoint()
        third = len(raw) // 3
        for i in range(3):
            self.path("a.pt.part%d" % i, raw[i * third : (i + 1) * third if i < 2 else None])
        self.good(self.path("a.pt.part0"), self.out, "--config", self.config())
        self.assertEqual(read_safetensors(os.path.join(self.out, "model.safetensors")), expected)
        self.bad(4, "truncated", self.path("b.pt", raw[: 2 * third]), self.out, "-f",
                 "--config", self.config())

    def test_published_names(self):
        tool.MODELS["x_base"] = (32, 2, 1, 3, 2, 10000, 1, 8192)
        tool.MODELS["x_262k"] = (32, 2, 1, 3, 2, 10000, 32, 262144)
        self.addCleanup(tool.MODELS.pop, "x_base")
        self.addCleanup(tool.MODELS.pop, "x_262k")
        raw, _ = made_checkpoint()
        self.bad(4, "give --model", self.path("mine.pt", raw), self.out, "-q")
        self.good(self.path("evo2_x_262k.pt", raw), self.out, "-q")
        self.assertEqual(self.message, "")
        with open(os.path.join(self.out, "config.json")) as f:
            fields = json.load(f)
        self.assertEqual(fields["rotary_emb_scaling_factor"], 32)
        self.assertEqual(fields["attn_layer_idxs"], [3, 10, 17, 24, 31])
        self.assertEqual(fields["hcs_layer_idxs"], [0, 4, 7, 11, 14, 18, 21, 25, 28])
        self.bad(4, "give --config", self.path("y.pt", made_checkpoint(width=4)[0]), self.out,
                 "-fq")

    def test_simple_yaml(self):
        path = self.path("evo2.yml", b"# fields\n---\nmodel_name: 'a # b'\nhidden_size: 2 # wide\n"
                         b"eps: 1e-6\nhcl_layer_idxs: [2, 6]\nattn_layer_idxs:\n  - 3\n- 10\n"
                         b"interleave: True\nsmeared: null\n")
        self.assertEqual(tool.read_fields(path), {
            "model_name": "a # b", "hidden_size": 2, "eps": 1e-6, "hcl_layer_idxs": [2, 6],
            "attn_layer_idxs": [3, 10], "interleave": True, "smeared": None})
        for text, why in ((b"a: 1\na: 2\n", "a second time"), (b"a:\n  b: 1\n", "line 2"),
                          (b"{\"a\": ", "malformed")):
            self.bad(4, why, self.path("a.pt", made_checkpoint()[0]), self.out, "--config",
                     self.path("bad.yml", text))

    def test_damage(self):
        raw, _ = made_checkpoint()
        at = raw.index(bytes(range(7, 7 + 12)))  # a storage
        broken = raw[:at] + b"\xff" + raw[at + 1 :]
        self.bad(4, "checksum", self.path("a.pt", broken), self.out, "-q", "--config",
                 self.config())
        self.assertEqual(os.listdir(self.out), [])
        self.good(self.path("a.pt"), self.out, "--config", self.config(), "--ignore-crc")
        for data, text in ((b"", "empty"), (b"hello", "not a ZIP"), (raw[:-30], "truncated")):
            self.bad(4, text, self.path("b.pt", data), self.out, "-f", "--config", self.config())
        self.bad(5, "No such file", self.path("none.pt"), self.out, "-f")
        # opcodes that would execute something are not known, calls are not made
        evil = zip_bytes([("x/data.pkl", b"\x80\x02cos\nsystem\nX\x06\0\0\0exit 1\x85R.")])
        self.bad(4, "no state_dict", self.path("c.pt", evil), self.out, "-f", "-q")
        evil = zip_bytes([("x/data.pkl", b"\x80\x02(S'exit 1'\nios\nsystem\n.")])
        self.bad(4, "opcode", self.path("c.pt", evil), self.out, "-f", "-q")
        twice = zip_bytes([("x/data.pkl", b"\x80\x02}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.")])
        self.bad(4, "two entries 'a'", self.path("c.pt", twice), self.out, "-f", "-q")

    def test_types(self):
        odd = {"embedding_layer.weight": tensor(0, 2, (1, 2), "DoubleStorage")}
        raw = zip_bytes([("e/data.pkl", Writer().dump(ordered(odd))), ("e/data/0", bytes(16))])
        self.bad(4, "F64", self.path("a.pt", raw), self.out, "-q")
        odd = {"embedding_layer.weight": tensor(0, 9, (3, 3))}
        raw = zip_bytes([("e/data.pkl", Writer().dump(ordered(odd))), ("e/data/0", bytes(16))])
        self.bad(4, "shorter than it says", self.path("a.pt", raw), self.out, "-q")

    def test_real_torch(self):
        python = next((p for p in (sys.executable, "/usr/bin/python3") if not subprocess.run(
            [p, "-c", "import torch"], stderr=subprocess.DEVNULL).returncode), None)
        if not python or not os.path.isdir(FIXTURE):
            self.skipTest("no PyTorch")
        weights = os.path.join(FIXTURE, "model.safetensors")
        subprocess.run([python, "-c", TORCH_SCRIPT, weights, self.path("a.pt")], check=True)
        config = os.path.join(FIXTURE, "config.json")
        self.good(self.path("a.pt"), self.out, "--config", config, "--shard-bytes", 10**6)
        original, found = read_safetensors(weights), {}
        for name in os.listdir(self.out):
            if name.endswith(".safetensors"):
                found.update(read_safetensors(os.path.join(self.out, name)))
        self.assertEqual(set(found), set(original))
        for name, (dtype, shape, raw) in found.items():
            self.assertEqual(shape, original[name][1])
            whole = original[name][2]
            if dtype == "BF16":  # the fixture's values are: the upper halves
                half = bytearray(len(whole) // 2)
                half[0::2], half[1::2] = whole[2::4], whole[3::4]
                self.assertEqual(whole[0::4].count(0), len(whole) // 4)
                whole = bytes(half)
            self.assertEqual(raw, whole, name)
        crocuta = os.environ.get("CROCUTA")
        if crocuta:
            shown = subprocess.run([crocuta, "model", "show", self.out], stdout=subprocess.PIPE,
                                   check=True).stdout.decode()
            self.assertIn("family\tstripedhyena2\n", shown)
            self.assertIn("dtype\tBF16\n", shown)


if __name__ == "__main__":
    unittest.main()
