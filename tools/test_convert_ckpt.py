#!/usr/bin/env python3
"""Tests of convert_ckpt.py: checkpoints built by hand, byte by byte.

Standard library only; one more test runs where PyTorch can be imported.
"""

import contextlib
import io
import json
import os
import shutil
import struct
import sys
import tempfile
import unittest
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import convert_ckpt

D, I, N, M, E, F, V = 4, 8, 2, 6, 5, 3, 16


# ------------------------------------------------------- a pickle writer, protocol 2


class G:
    def __init__(self, module, name):
        self.code = b"c" + module.encode() + b"\n" + name.encode() + b"\n"


class Call:
    """function(*arguments), optionally filled with items and given a state."""

    def __init__(self, function, *arguments, items=None, state=None, new=False):
        self.function, self.arguments, self.new = function, arguments, new
        self.items, self.state = items, state


class Pid:
    def __init__(self, identifier):
        self.id = identifier


class Raw:
    def __init__(self, code):
        self.code = code


class Writer:
    def __init__(self):
        self.memo = 0

    def put(self):
        self.memo += 1
        n = self.memo - 1
        return b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n)

    def dump(self, x):
        return b"\x80\x02" + self.save(x) + b"."

    def save(self, x):
        if isinstance(x, (G, Raw)):
            return x.code
        if x is None:
            return b"N"
        if x is True or x is False:
            return b"\x88" if x else b"\x89"
        if isinstance(x, int):
            if 0 <= x < 256:
                return b"K" + bytes([x])
            if 0 <= x < 65536:
                return b"M" + struct.pack("<H", x)
            if -(2**31) <= x < 2**31:
                return b"J" + struct.pack("<i", x)
            raw = x.to_bytes(x.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        if isinstance(x, float):
            return b"G" + struct.pack(">d", x)
        if isinstance(x, str):
            raw = x.encode()
            return b"X" + struct.pack("<I", len(raw)) + raw + self.put()
        if isinstance(x, tuple):
            if len(x) == 0:
                return b")"
            body = b"".join(map(self.save, x))
            return body + bytes([0x84 + len(x)]) if len(x) < 4 else b"(" + body + b"t"
        if isinstance(x, list):
            return b"]" + self.put() + b"(" + b"".join(map(self.save, x)) + b"e"
        if isinstance(x, dict):
            return b"}" + self.put() + self.pairs(x)
        if isinstance(x, Pid):
            return self.save(x.id) + b"Q"
        if isinstance(x, Call):
            out = self.save(x.function) + self.save(tuple(x.arguments))
            out += (b"\x81" if x.new else b"R") + self.put()
            if x.items is not None:
                out += self.pairs(x.items)
            if x.state is not None:
                out += self.save(x.state) + b"b"
            return out
        raise TypeError(x)

    def pairs(self, items):
        body = b"".join(self.save(k) + self.save(v) for k, v in items.items())
        return b"(" + body + b"u"


def ordered(items, state=None):
    return Call(G("collections", "OrderedDict"), items=items, state=state)


# ------------------------------------------------------------------ a ZIP writer


def zip_bytes(entries, zip64=False):
    """Stored entries as PyTorch writes them: bit 3, zeros in the local header."""
    out, directory = bytearray(), bytearray()
    for name, data in entries:
        raw = name.encode()
        offset = len(out)
        pad = b"\0" * (-(offset + 34 + len(raw)) % 64)
        out += b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 0, 0x0808, 0, 0, 0, 0, 0, 0,
                                           len(raw), len(pad) + 4)
        out += raw + b"FB" + struct.pack("<H", len(pad)) + pad + data
        out += b"PK\x07\x08" + struct.pack("<III", zlib.crc32(data), len(data), len(data))
        extra, size, place = b"", len(data), offset
        if zip64:
            extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
            size = place = 0xFFFFFFFF
        directory += b"PK\x01\x02" + struct.pack(
            "<HHHHHHIIIHHHHHII", 0, 0, 0x0808, 0, 0, 0, zlib.crc32(data), size, size, len(raw),
            len(extra), 0, 0, 0, 0, place) + raw + extra
    begin = len(out)
    out += directory
    if zip64:
        record = len(out)
        out += b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(entries),
                                           len(entries), len(directory), begin)
        out += b"PK\x06\x07" + struct.pack("<IQI", 0, record, 1)
        out += b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF,
                                           0xFFFFFFFF, 0)
    else:
        out += b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries),
                                           len(directory), begin, 0)
    return bytes(out)


# ------------------------------------------------------------------ a checkpoint


class Checkpoint:
    """Storages and the state dict of a small model, with made-up values."""

    def __init__(self, prefix="model.", wrapped=False):
        self.storages = []
        self.values = {}  # Hugging Face name -> (shape, bytes)
        self.state = {}
        self.seed = 0
        dot = ".layer" if wrapped else ""
        p = prefix + "backbone."
        emb = self.fresh("backbone.embeddings.word_embeddings.weight", (V, D))
        self.state[p + "embeddings.word_embeddings.weight"] = emb
        for i in range(N):
            h = "backbone.layers.%d." % i
            for part, names in (
                ("mixer", {"in_proj.weight": (3 * D, D), "in_proj.bias": (3 * D,),
                           "out_proj.weight": (D, D), "out_proj.bias": (D,),
                           "short_filter.weight": (3 * D, 1, 3), "short_filter.bias": (3 * D,),
                           "filter_fn.bias": (D,), "filter_fn.pos_emb.z": (1, M, E),
                           "filter_fn.pos_emb.t": (1, M, 1),
                           "filter_fn.modulation.deltas": (1, 1, D),
                           "filter_fn.implicit_filter.0.weight": (F, E),
                           "filter_fn.implicit_filter.0.bias": (F,),
                           "filter_fn.implicit_filter.2.weight": (F, F),
                           "filter_fn.implicit_filter.2.bias": (F,),
                           "filter_fn.implicit_filter.4.weight": (F, F),
                           "filter_fn.implicit_filter.4.bias": (F,),
                           "filter_fn.implicit_filter.6.weight": (D, F)}),
                ("mlp", {"fc1.weight": (I, D), "fc1.bias": (I,), "fc2.weight": (D, I),
                         "fc2.bias": (D,)}),
            ):
                for name, shape in names.items():
                    key = "%slayers.%d.%s%s.%s" % (p, i, part, dot, name)
                    self.state[key] = self.fresh(h + part + "." + name, shape)
            freq = self.fresh(h + "mixer.filter_fn.implicit_filter.1.freq", (1, F))
            for k in (1, 3, 5):
                key = "%slayers.%d.mixer%s.filter_fn.implicit_filter.%d.freq" % (p, i, dot, k)
                self.state[key] = freq
            for norm in ("norm1", "norm2"):
                for what in ("weight", "bias"):
                    key = "%slayers.%d.%s.%s" % (p, i, norm, what)
                    self.state[key] = self.fresh(h + norm + "." + what, (D,))
        # Both halves of one storage: offsets must be honoured.
        both = self.numbers(2 * D)
        n = self.add_storage(both)
        for j, what in enumerate(("weight", "bias")):
            self.state[p + "ln_f." + what] = self.tensor(n, 2 * D, (D,), offset=j * D)
            self.values["backbone.ln_f." + what] = ((D,), both[4 * j * D : 4 * (j + 1) * D])
        self.state[prefix + "lm_head.weight"] = emb
        self.values["lm_head.weight"] = self.values["backbone.embeddings.word_embeddings.weight"]
        self.state["train_torchmetrics.num_tokens.count"] = self.tensor(
            self.add_storage(struct.pack("<q", 7)), 1, (), kind="LongStorage")

    def numbers(self, count):
        self.seed += 1
        return struct.pack("<%df" % count, *[(self.seed * 31 + j * 17) % 101 / 64 - 0.5
                                             for j in range(count)])

    def add_storage(self, raw):
        self.storages.append(raw)
        return len(self.storages) - 1

    @staticmethod
    def tensor(storage, numel, shape, offset=0, stride=None, kind="FloatStorage", where="cuda:0"):
        if stride is None:
            stride, step = [], 1
            for n in reversed(shape):
                stride.insert(0, step)
                step *= n
        return Call(G("torch._utils", "_rebuild_tensor_v2"),
                    Pid(("storage", G("torch", kind), str(storage), where, numel)),
                    offset, tuple(shape), tuple(stride), False, ordered({}))

    def fresh(self, name, shape):
        count = 1
        for n in shape:
            count *= n
        raw = self.numbers(count)
        self.values[name] = (shape, raw)
        return self.tensor(self.add_storage(raw), count, shape)

    def lightning(self):
        """The surroundings that a training checkpoint has."""
        node = lambda value: Call(
            G("omegaconf.nodes", "AnyNode"), new=True,
            state={"_metadata": Call(G("omegaconf.base", "Metadata"), new=True,
                                     state={"ref_type": G("typing", "Any"), "key": "lr"}),
                   "_val": value, "_parent": None})
        config = Call(G("omegaconf.dictconfig", "DictConfig"), new=True,
                      state={"_content": {"lr": node(6e-4), "n": node(2**70)}})
        defaults = Call(G("collections", "defaultdict"), G("__builtin__", "dict"),
                        items={"a": [1, -5, 70000, 2.5, None, True]})
        odd_key = Raw(b"}(K\x01K\x02\x86K\x03u")  # a dict whose key is a tuple
        return {"epoch": 3, "global_step": 100000, "pytorch-lightning_version": "1.8.6",
                "hyper_parameters": config, "loops": defaults, "odd": odd_key,
                "optimizer_states": [{"state": {0: {"step": 5}}}],
                "state_dict": ordered(self.state, {"_metadata": ordered({})})}

    def bytes(self, top=None, zip64=False, root="archive", extra=()):
        top = self.lightning() if top is None else top
        pickled = top if isinstance(top, bytes) else Writer().dump(top)
        entries = [(root + "/data.pkl", pickled)]
        entries += [("%s/data/%d" % (root, i), raw) for i, raw in enumerate(self.storages)]
        entries += [(root + "/version", b"3\n")] + list(extra)
        return zip_bytes(entries, zip64)


CONFIG = {
    "d_model": D, "n_layer": N, "d_inner": I, "vocab_size": 12, "resid_dropout": 0.0,
    "embed_dropout": 0.1, "pad_vocab_size_multiple": 8,
    "layer": {"_name_": "hyena", "emb_dim": E, "filter_order": F, "local_order": 3, "l_max": M,
              "modulate": True, "w": 10, "lr": 6e-4, "wd": 0.0, "lr_pos_emb": 0.0},
}


def read_model(directory):
    with open(os.path.join(directory, "model.safetensors"), "rb") as f:
        raw = f.read()
    (n,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + n])
    meta = header.pop("__metadata__")
    body, out, end = raw[8 + n :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        a, b = entry["data_offsets"]
        assert a == end, "gap in the file"
        end = b
        out[name] = (entry["dtype"], tuple(entry["shape"]), body[a:b])
    assert end == len(body) and n % 8 == 0 and meta == {"format": "pt"}
    with open(os.path.join(directory, "config.json")) as f:
        return json.load(f), out


class Test(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.mkdtemp()
        self.out = os.path.join(self.tmp, "model")
        self.ckpt = os.path.join(self.tmp, "weights.ckpt")

    def tearDown(self):
        shutil.rmtree(self.tmp)

    def convert(self, data, *options, config=CONFIG):
        with open(self.ckpt, "wb") as f:
            f.write(data)
        if config is not None:
            with open(os.path.join(self.tmp, "config.json"), "w") as f:
                json.dump(config, f)
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            status = convert_ckpt.main([self.ckpt, self.out] + list(options))
        return status, error.getvalue()

    def good(self, data, expected, *options, config=CONFIG):
        status, text = self.convert(data, *options, config=config)
        self.assertEqual(status, 0, text)
        fields, tensors = read_model(self.out)
        want = {("hyena." + k if k.startswith("backbone.") else k): ("F32", s, b)
                for k, (s, b) in expected.items()}
        self.assertEqual(sorted(tensors), sorted(want))
        for name in want:
            self.assertEqual(tensors[name], want[name], name)
        self.assertEqual(sorted(os.listdir(self.out)), ["config.json", "model.safetensors"])
        return fields, text

    def bad(self, data, pattern, *options, config=CONFIG, status=4):
        got, text = self.convert(data, "-q", *options, config=config)
        self.assertEqual(got, status, text)
        self.assertRegex(text, pattern)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertFalse(os.path.exists(self.out) and os.listdir(self.out))

    def test_lightning(self):
        c = Checkpoint()
        fields, _ = self.good(c.bytes(), c.values)
        self.assertEqual(
            {k: fields[k] for k in ("d_model", "d_inner", "n_layer", "max_seq_len", "emb_dim",
                                    "filter_order", "num_inner_mlps", "activation_freq",
                                    "filter_shift", "vocab_size", "model_type")},
            {"d_model": D, "d_inner": I, "n_layer": N, "max_seq_len": M, "emb_dim": E,
             "filter_order": F, "num_inner_mlps": 2, "activation_freq": 10,
             "filter_shift": 0.05, "vocab_size": 12, "model_type": "hyenadna"})
        self.assertEqual(len(c.values), 26 * N + 4)

    def test_zip64_and_wrapped_names(self):
        c = Checkpoint(wrapped=True)
        self.good(c.bytes(zip64=True, root="weights"), c.values)

    def test_slim_and_bare(self):
        for prefix in ("model.", "module.", "hyena.", ""):
            c = Checkpoint(prefix)
            for top in ({"state_dict": c.state}, ordered(c.state)):
                self.good(c.bytes(top), c.values, "--force")

    def test_without_config_and_shift(self):
        c = Checkpoint()
        fields, text = self.good(c.bytes(), c.values, "--filter-shift", "0", config=None)
        self.assertEqual(fields["filter_shift"], 0.0)
        self.assertIn("no config.json", text)

    def test_shapes_win(self):
        c = Checkpoint()
        fields, text = self.good(c.bytes(), c.values, config=dict(CONFIG, d_model=256))
        self.assertEqual(fields["d_model"], D)
        self.assertIn("d_model 256", text)

    def test_head_only_from_embedding(self):
        c = Checkpoint()
        del c.state["model.lm_head.weight"]
        self.good(c.bytes(), c.values)

    def test_one_freq_under_any_index(self):
        c = Checkpoint()
        for i in range(N):
            for k in (1, 3):
                del c.state["model.backbone.layers.%d.mixer.filter_fn.implicit_filter.%d.freq"
                            % (i, k)]
        self.good(c.bytes(), c.values)

    def test_different_freqs(self):
        c = Checkpoint()
        key = "model.backbone.layers.0.mixer.filter_fn.implicit_filter.5.freq"
        c.state[key] = c.tensor(c.add_storage(struct.pack("<3f", 1, 2, 3)), 3, (1, F))
        self.bad(c.bytes(), "differ")

    def test_formula_tensors_may_be_absent(self):
        c = Checkpoint()
        for table, prefix in ((c.state, "model."), (c.values, "")):
            for key in list(table):
                if key.endswith((".z", ".t", ".deltas")):
                    del table[key]
        self.good(c.bytes(), c.values)
        shutil.rmtree(self.out)
        os.unlink(os.path.join(self.tmp, "config.json"))
        self.bad(c.bytes(), r"pos_emb\.z is missing", config=None)

    def test_hostile_calls_have_no_effect(self):
        victim = os.path.join(self.tmp, "victim")
        c = Checkpoint()
        top = c.lightning()
        for module, name in (("os", "system"), ("posix", "system"), ("builtins", "exec"),
                             ("__builtin__", "eval"), ("subprocess", "call")):
            top["x" + module + name] = Call(G(module, name), "touch " + victim)
        top["y"] = Call(G("no.such.module", "Thing"), new=True, state={"a": 1})
        top["z"] = Call(Call(G("builtins", "getattr"), G("os", "nothing"), "system"), "true")
        self.good(c.bytes(top), c.values)
        self.assertFalse(os.path.exists(victim))
        c.state["model.backbone.ln_f.weight"] = Call(G("os", "system"), "touch " + victim)
        self.bad_dir()
        self.bad(c.bytes(), r"ln_f\.weight is missing")
        self.assertFalse(os.path.exists(victim))

    def bad_dir(self):
        shutil.rmtree(self.out)

    def test_bad_pickles(self):
        c = Checkpoint()
        for code, pattern in (
            (b"\x80\x02i.", "opcode 0x69"), (b"\x80\x04.", "protocol 4"), (b"", "no end"),
            (b"\x80\x02.", "stack is empty"), (b"\x80\x02}", "no end"),
            (b"\x80\x02X\xff\xff\xff\xffab", "truncated"), (b"\x80\x02h\x07.", "missing value 7"),
            (b"\x80\x02cos\nsys", "truncated"), (b"\x80\x02K\x01t.", "no mark"),
            (b"\x80\x02}(K\x01u.", "key without"), (b"\x80\x02(K\x01.", "state_dict"),
            (b"\x80\x02(R.", "stack is empty"), (b"\x80\x02N.", "state_dict"),
            (b"\x80\x02}.", "state_dict"),
        ):
            self.bad(c.bytes(code), pattern)

    def test_bad_tensors(self):
        key = "model.backbone.layers.1.mlp.fc1.weight"

        def case(tensor, pattern, storages=()):
            c = Checkpoint()
            c.storages += storages
            c.state[key] = tensor
            self.bad(c.bytes(), pattern)

        t = Checkpoint.tensor
        case(t(0, V * D, (I, D), offset=V * D - 5), "past its storage")
        case(t(0, V * D, (I, D), stride=(1, I)), "contiguously")
        case(t(0, V * D, (I, D), stride=(D, -1)), "not understood")
        case(t(0, V * D, (2**40, 2**40)), "past its storage")
        case(t(0, 10**9, (I, D)), "shorter")
        case(t(999, I * D, (I, D)), "no entry")
        case(t("../../version", I * D, (I, D)), "odd name")
        case(t(0, V * D, (I, D), kind="QInt8Storage"), "QInt8Storage")
        case(t(0, V * D, (D, I)), r"has shape \[4, 8\], expected \[8, 4\]")
        case(Call(G("torch._utils", "_rebuild_tensor_v2"), 1, 2), "not understood")
        case(None, r"fc1\.weight is missing")

    def test_missing_tensor(self):
        c = Checkpoint()
        del c.state["model.backbone.layers.1.mixer.out_proj.bias"]
        self.bad(c.bytes(), r"layers\.1\.mixer\.out_proj\.bias is missing$")
        for key in list(c.state):
            if ".layers.0." in key:
                del c.state[key]
        self.bad(c.bytes(), "not numbered")

    def test_unsupported(self):
        c = Checkpoint()
        self.bad(c.bytes(), "bidirectional", config=dict(CONFIG, layer={"bidirectional": True}))
        self.bad(c.bytes(), "layer.order", config=dict(CONFIG, layer={"order": 3}))
        self.bad(c.bytes(), "attention", config=dict(CONFIG, attn_layer_idx=[1]))
        c.state["model.backbone.layers.1.mixer.Wqkv.weight"] = c.tensor(0, V * D, (V, D))
        self.bad(c.bytes(), "attention")

    def test_bad_files(self):
        c = Checkpoint()
        data = c.bytes()
        self.bad(b"", "empty")
        self.bad(b"\x80\x02" + data, "not a ZIP")
        for n in (3, 40, len(data) // 2, len(data) - 30, len(data) - 3):
            self.bad(data[:n], "ZIP")
        at = data.index(c.storages[5])
        broken = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        self.bad(broken, "checksum")
        self.assertEqual(self.convert(broken, "--ignore-crc")[0], 0)
        self.bad_dir()
        self.bad(c.bytes(extra=[("other/data.pkl", b"")]), "more than one")
        self.bad(c.bytes(extra=[("archive/byteorder", b"big")]), "big-endian")
        self.bad(zip_bytes([("a/b", b"c")]), "no entry data.pkl")

    def test_every_truncation_and_many_flips_end_cleanly(self):
        """No byte of the pickle or the directory may cause anything but a status."""
        c = Checkpoint()
        pickled = Writer().dump(c.lightning())
        for n in range(0, len(pickled), 97):
            self.assertEqual(self.convert(c.bytes(pickled[:n]), "-q", "-f")[0], 4)
        data = bytearray(c.bytes())
        begin = data.index(b"PK\x01\x02")
        for i in range(begin, len(data), 41):
            flipped = bytearray(data)
            flipped[i] ^= 0xFF
            self.assertIn(self.convert(bytes(flipped), "-q", "-f")[0], (0, 4))
        for i in range(0, len(pickled), 53):
            flipped = bytearray(pickled)
            flipped[i] ^= 0x55
            self.assertIn(self.convert(c.bytes(bytes(flipped)), "-q", "-f")[0], (0, 4))

    def test_half_types_and_double(self):
        c = Checkpoint()
        key, name = "model.backbone.ln_f.weight", "hyena.backbone.ln_f.weight"
        for kind, raw, dtype, want in (
            ("HalfStorage", struct.pack("<4e", 1, 2, 3, 4), "F16", None),
            ("BFloat16Storage", bytes(range(8)), "BF16", None),
            ("DoubleStorage", struct.pack("<4d", 1, 0.1, 1e300, -3), "F32",
             struct.pack("<4f", 1, 0.1, float("inf"), -3)),
        ):
            c.state[key] = Call(G("torch._utils", "_rebuild_parameter"),
                                c.tensor(c.add_storage(raw), 4, (D,), kind=kind), True,
                                ordered({}))
            self.assertEqual(self.convert(c.bytes(), "-q", "-f")[0], 0)
            self.assertEqual(read_model(self.out)[1][name], (dtype, (D,), want or raw))

    def test_decoder_is_kept(self):
        for prefix in ("decoder.0.output_transform.", "head.output_transform."):
            c = Checkpoint()
            raw = struct.pack("<8f", *range(8)), struct.pack("<2f", 8, 9)
            c.state[prefix + "weight"] = c.tensor(c.add_storage(raw[0]), 8, (2, D))
            c.state["model." + prefix + "bias"] = c.tensor(c.add_storage(raw[1]), 2, (2,))
            c.values[prefix + "weight"] = ((2, D), raw[0])
            c.values[prefix + "bias"] = ((2,), raw[1])
            _, text = self.good(c.bytes(), c.values, "--force")
            self.assertIn("head kept as %sweight" % prefix, text)
            self.assertIn("head kept as %sbias" % prefix, text)
            del c.state["model." + prefix + "bias"], c.values[prefix + "bias"]
            self.good(c.bytes(), c.values, "--force")
            shutil.rmtree(self.out)

    def test_decoders_that_do_not_fit(self):
        def made(weight, bias=None):
            c = Checkpoint()
            for what, shape in (("weight", weight), ("bias", bias)):
                if shape:
                    n = 1
                    for size in shape:
                        n *= size
                    c.state["decoder.0.output_transform." + what] = c.tensor(
                        c.add_storage(bytes(4 * n)), n, shape)
            return c

        self.bad(made((2, D + 1)).bytes(), r"weight has shape \[2, 5\], expected \[classes, 4\]")
        self.bad(made((D,)).bytes(), r"weight has shape \[4\], expected \[classes, 4\]")
        self.bad(made((2, D), (3,)).bytes(), r"bias has shape \[3\], expected \[2\]")
        c = made(None, (2,))  # alone it classifies nothing
        _, text = self.good(c.bytes(), c.values)
        self.assertIn("unused tensor decoder.0.output_transform.bias left out", text)

    def test_statuses(self):
        c = Checkpoint()
        self.assertEqual(self.convert(c.bytes(), "-q")[0], 0)
        self.assertEqual(self.convert(c.bytes(), "-q")[0], 10)
        self.assertEqual(self.convert(c.bytes(), "-q", "--force")[0], 0)
        self.bad_dir()
        error = io.StringIO()
        with contextlib.redirect_stderr(error):
            self.assertEqual(convert_ckpt.main([self.ckpt + ".none", self.out]), 5)
            with self.assertRaises(SystemExit) as stop:
                convert_ckpt.main([])
        self.assertEqual(stop.exception.code, 2)
        self.out = os.path.join(self.ckpt, "below-a-file")
        self.assertEqual(self.convert(c.bytes(), "-q")[0], 5)

    def test_real_torch(self):
        try:
            import torch
        except Exception:
            self.skipTest("no PyTorch")
        c = Checkpoint()
        made = {}
        for name, (shape, raw) in c.values.items():
            made["model." + name] = torch.tensor(
                struct.unpack("<%df" % (len(raw) // 4), raw), dtype=torch.float32).reshape(shape)
        made["model.lm_head.weight"] = made["model.backbone.embeddings.word_embeddings.weight"]
        for i in range(N):
            h = "model.backbone.layers.%d.mixer.filter_fn.implicit_filter." % i
            made[h + "3.freq"] = made[h + "5.freq"] = made[h + "1.freq"]
        both = torch.stack([made["model.backbone.ln_f.weight"], made["model.backbone.ln_f.bias"]])
        made["model.backbone.ln_f.weight"], made["model.backbone.ln_f.bias"] = both[0], both[1]
        made["model.backbone.layers.0.norm1.bias"] = torch.nn.Parameter(
            made["model.backbone.layers.0.norm1.bias"])
        for top in ({"state_dict": made, "epoch": 1, "x": {1, 2}}, made):
            torch.save(top, self.ckpt)
            with open(self.ckpt, "rb") as f:
                data = f.read()
            self.good(data, c.values, "--force")


if __name__ == "__main__":
    unittest.main()
