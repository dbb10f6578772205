#!/usr/bin/env python3
"""Convert an original HyenaDNA checkpoint (weights.ckpt) to a model directory.

The checkpoint is a PyTorch Lightning file: a ZIP with a pickle and raw storages in
it.  Nothing in the pickle is ever executed or imported: a small interpreter of the
needed opcodes builds inert objects, and only those that describe tensors of the
state dict are looked at.  A file with just {"state_dict": ...} and a bare state
dict are read as well.

Written are config.json and model.safetensors with Hugging Face names, ready for
crocuta and for the published Hugging Face code.  The shapes of the tensors win over
the checkpoint's config.json.  Needs nothing but Python's standard library.

Exit status: 0 done, 2 command line, 4 the checkpoint is unusable, 5 file system,
10 the output exists (see --force).
"""

import argparse
import json
import math
import mmap
import os
import re
import struct
import sys
import zlib
from array import array

NAME = "convert_ckpt"
EXIT_MODEL, EXIT_IO, EXIT_EXISTS = 4, 5, 10


class ModelError(Exception):
    """The checkpoint cannot be used; the message is one line."""


# ------------------------------------------------------------------------- ZIP


class Zip:
    """Stored entries of a ZIP file, found through its central directory.

    Local headers are used only to find where the data begin: PyTorch leaves their
    sizes and checksums zero (flag bit 3).
    """

    def __init__(self, data, check_crc=True):
        self.data, self.check_crc, self.entries = data, check_crc, {}
        size = len(data)
        at = data.rfind(b"PK\x05\x06", max(0, size - 65557))
        if size >= 4 and data[:4] != b"PK\x03\x04":
            raise ModelError("not a ZIP file (written by PyTorch before 1.6, or no checkpoint)")
        if at < 0 or at + 22 > size:
            raise ModelError("the ZIP directory is missing: the file is truncated")
        count, length, begin = struct.unpack("<HII", data[at + 10 : at + 20])
        if count == 0xFFFF or length == 0xFFFFFFFF or begin == 0xFFFFFFFF:
            count, length, begin = self._zip64(at)
        if begin + length > at:
            raise ModelError("the ZIP directory lies outside the file")
        end, pos = begin + length, begin
        for _ in range(count):
            if pos + 46 > end or data[pos : pos + 4] != b"PK\x01\x02":
                raise ModelError("the ZIP directory is damaged")
            (flags, method) = struct.unpack("<HH", data[pos + 8 : pos + 12])
            crc, packed, plain, n_name, n_extra, n_note = struct.unpack(
                "<IIIHHH", data[pos + 16 : pos + 34])
            (offset,) = struct.unpack("<I", data[pos + 42 : pos + 46])
            stop = pos + 46 + n_name + n_extra + n_note
            if stop > end:
                raise ModelError("the ZIP directory is damaged")
            name = data[pos + 46 : pos + 46 + n_name].decode("utf-8", "replace")
            extra = data[pos + 46 + n_name : pos + 46 + n_name + n_extra]
            if 0xFFFFFFFF in (packed, plain, offset):
                plain, packed, offset = self._extra64(name, extra, plain, packed, offset)
            if name in self.entries:
                raise ModelError("the ZIP directory lists %s twice" % name)
            self.entries[name] = (flags, method, crc, packed, plain, offset)
            pos = stop

    def _zip64(self, at):
        data = self.data
        if at < 20 or data[at - 20 : at - 16] != b"PK\x06\x07":
            raise ModelError("the ZIP64 directory is missing")
        (where,) = struct.unpack("<Q", data[at - 12 : at - 4])
        if where + 56 > at or data[where : where + 4] != b"PK\x06\x06":
            raise ModelError("the ZIP64 directory is damaged")
        return struct.unpack("<QQQ", data[where + 32 : where + 56])

    @staticmethod
    def _extra64(name, extra, plain, packed, offset):
        pos = 0
        while pos + 4 <= len(extra):
            tag, n = struct.unpack("<HH", extra[pos : pos + 4])
            body = extra[pos + 4 : pos + 4 + n]
            pos += 4 + n
            if tag != 1:
                continue
            values = []
            for value in (plain, packed, offset):  # in this order, only those that overflow
                if value == 0xFFFFFFFF:
                    if len(body) < 8:
                        raise ModelError("the ZIP64 field of %s is damaged" % name)
                    (value,) = struct.unpack("<Q", body[:8])
                    body = body[8:]
                values.append(value)
            return values
        raise ModelError("the ZIP64 field of %s is missing" % name)

    def read(self, name):
        """The bytes of an entry, as a view of the file."""
        if name not in self.entries:
            raise ModelError("the file has no entry %s" % name)
        flags, method, crc, packed, plain, offset = self.entries[name]
        if method != 0 or packed != plain or flags & 1:
            raise ModelError("entry %s is compressed or encrypted" % name)
        head = self.data[offset : offset + 30]
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise ModelError("entry %s has no header at its place" % name)
        begin = offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        if begin + plain > len(self.data):
            raise ModelError("entry %s runs past the end of the file" % name)
        view = memoryview(self.data)[begin : begin + plain]
        if self.check_crc and zlib.crc32(view) != crc:
            raise ModelError("entry %s is damaged (checksum)" % name)
        return view


# ---------------------------------------------------------------------- pickle


class Global:
    """The name of something in a Python module; never imported."""

    __slots__ = ("module", "name")

    def __init__(self, module, name):
        self.module, self.name = module, name


class Node:
    """A dict, or whatever a call or a class would have made; never made."""

    __slots__ = ("function", "arguments", "items")

    def __init__(self, function=None, arguments=()):
        self.function, self.arguments, self.items = function, arguments, {}


class Persistent:
    __slots__ = ("id",)

    def __init__(self, identifier):
        self.id = identifier


MARK = object()


def unpickle(data):
    """The top object of a protocol 2 pickle, made of plain values, lists, tuples and
    the classes above."""
    pos, size = 0, len(data)
    stack, memo = [], {}

    def take(n):
        nonlocal pos
        if n < 0 or n > size - pos:
            raise ModelError("the pickle is truncated at byte %d" % pos)
        pos += n
        return data[pos - n : pos]

    def line():
        nonlocal pos
        end = data.find(b"\n", pos)
        if end < 0:
            raise ModelError("the pickle is truncated at byte %d" % pos)
        text = data[pos:end]
        pos = end + 1
        return text.decode("utf-8", "replace")

    def pop():
        if not stack or stack[-1] is MARK:
            raise ModelError("the pickle's stack is empty at byte %d" % pos)
        return stack.pop()

    def pop_to_mark():
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is MARK:
                values = stack[i + 1 :]
                del stack[i:]
                return values
        raise ModelError("the pickle has no mark at byte %d" % pos)

    def top():
        if not stack or stack[-1] is MARK:
            raise ModelError("the pickle's stack is empty at byte %d" % pos)
        return stack[-1]

    def put(index):
        memo[index] = top()

    def get(index):
        if index not in memo:
            raise ModelError("the pickle refers to missing value %d" % index)
        stack.append(memo[index])

    def set_items(target, values):
        if len(values) % 2:
            raise ModelError("the pickle has a key without a value at byte %d" % pos)
        if isinstance(target, Node):
            for key, value in zip(values[::2], values[1::2]):
                if isinstance(key, str) and key in target.items:
                    raise ModelError("the pickle has two entries %.80r" % key)
                if isinstance(key, (str, int, float)):  # others cannot name a tensor
                    target.items[key] = value

    while True:
        if pos >= size:
            raise ModelError("the pickle has no end")
        op = data[pos]
        pos += 1
        if op == 0x80:  # PROTO
            version = take(1)[0]
            if version > 2:
                raise ModelError("the pickle has protocol %d; 2 is expected" % version)
        elif op == 0x7D:  # EMPTY_DICT
            stack.append(Node())
        elif op == 0x5D:  # EMPTY_LIST
            stack.append([])
        elif op == 0x29:  # EMPTY_TUPLE
            stack.append(())
        elif op == 0x28:  # MARK
            stack.append(MARK)
        elif op == 0x71:  # BINPUT
            put(take(1)[0])
        elif op == 0x72:  # LONG_BINPUT
            put(struct.unpack("<I", take(4))[0])
        elif op == 0x68:  # BINGET
            get(take(1)[0])
        elif op == 0x6A:  # LONG_BINGET
            get(struct.unpack("<I", take(4))[0])
        elif op == 0x58:  # BINUNICODE
            (n,) = struct.unpack("<I", take(4))
            stack.append(take(n).decode("utf-8", "replace"))
        elif op == 0x4A:  # BININT
            stack.append(struct.unpack("<i", take(4))[0])
        elif op == 0x4B:  # BININT1
            stack.append(take(1)[0])
        elif op == 0x4D:  # BININT2
            stack.append(struct.unpack("<H", take(2))[0])
        elif op == 0x8A:  # LONG1
            stack.append(int.from_bytes(take(take(1)[0]), "little", signed=True))
        elif op == 0x47:  # BINFLOAT
            stack.append(struct.unpack(">d", take(8))[0])
        elif op == 0x4E:  # NONE
            stack.append(None)
        elif op == 0x88:  # NEWTRUE
            stack.append(True)
        elif op == 0x89:  # NEWFALSE
            stack.append(False)
        elif op == 0x74:  # TUPLE
            stack.append(tuple(pop_to_mark()))
        elif op == 0x85:  # TUPLE1
            stack.append((pop(),))
        elif op == 0x86:  # TUPLE2
            b, a = pop(), pop()
            stack.append((a, b))
        elif op == 0x87:  # TUPLE3
            c, b, a = pop(), pop(), pop()
            stack.append((a, b, c))
        elif op == 0x61:  # APPEND
            value = pop()
            if isinstance(top(), list):
                top().append(value)
        elif op == 0x65:  # APPENDS
            values = pop_to_mark()
            if isinstance(top(), list):
                top().extend(values)
        elif op == 0x73:  # SETITEM
            value, key = pop(), pop()
            set_items(top(), [key, value])
        elif op == 0x75:  # SETITEMS
            values = pop_to_mark()
            set_items(top(), values)
        elif op == 0x63:  # GLOBAL
            module = line()
            stack.append(Global(module, line()))
        elif op in (0x52, 0x81):  # REDUCE, NEWOBJ: remembered, not called
            arguments, function = pop(), pop()
            stack.append(Node(function, arguments))
        elif op == 0x62:  # BUILD: the state is of no use here
            pop()
            top()
        elif op == 0x51:  # BINPERSID
            stack.append(Persistent(pop()))
        elif op == 0x30:  # POP
            if not stack:
                raise ModelError("the pickle's stack is empty at byte %d" % pos)
            stack.pop()
        elif op == 0x2E:  # STOP
            return pop()
        else:
            raise ModelError("the pickle has opcode 0x%02x at byte %d, which no checkpoint needs"
                             % (op, pos - 1))


# --------------------------------------------------------------------- tensors

STORAGE = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2),
           "BFloat16Storage": ("BF16", 2), "DoubleStorage": ("F64", 8)}


class Tensor:
    __slots__ = ("dtype", "shape", "data")

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, list(shape), data


def is_call(node, module, names):
    return (isinstance(node, Node) and isinstance(node.function, Global)
            and node.function.module == module and node.function.name in names)


def tensor_node(value):
    """The _rebuild_tensor call behind a value, or None."""
    for _ in range(4):  # a parameter wraps a tensor
        if is_call(value, "torch._utils", ("_rebuild_parameter", "_rebuild_parameter_with_state")):
            value = value.arguments[0] if isinstance(value.arguments, tuple) and value.arguments \
                else None
    if is_call(value, "torch._utils", ("_rebuild_tensor_v2", "_rebuild_tensor")):
        return value
    return None


def natural(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def resolve(name, node, archive, root):
    """The tensor that a _rebuild_tensor call describes."""

    def bad(why):
        return ModelError("tensor %s: %s" % (name, why))

    a = node.arguments
    if not isinstance(a, tuple) or len(a) < 4 or not isinstance(a[0], Persistent):
        raise bad("its description is not understood")
    storage, offset, size, stride = a[:4]
    p = storage.id
    if (not isinstance(p, tuple) or len(p) != 5 or p[0] != "storage"
            or not isinstance(p[1], Global) or not isinstance(p[2], str) or not natural(p[4])):
        raise bad("its storage is not understood")
    if p[1].module not in ("torch", "torch.storage") or p[1].name not in STORAGE:
        raise bad("its storage type %s is not supported" % p[1].name)
    dtype, width = STORAGE[p[1].name]
    if (not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride)
            or len(size) > 8 or not natural(offset) or not all(map(natural, size + stride))):
        raise bad("its shape is not understood")
    count = 1
    for n, step in zip(reversed(size), reversed(stride)):
        if n != 1 and step != count and 0 not in size:
            raise bad("it is not stored contiguously")
        count *= n
    if offset + count > p[4]:
        raise bad("it reaches past its storage")
    if not re.fullmatch(r"[0-9A-Za-z_]+", p[2]):
        raise bad("its storage has an odd name")
    data = archive.read("%s/data/%s" % (root, p[2]))
    if len(data) < p[4] * width:
        raise bad("its storage is shorter than it says")
    return Tensor(dtype, size, data[offset * width : (offset + count) * width])


def state_dict_of(top):
    """The mapping of names to tensors in a checkpoint, a slimmed one or a bare one."""
    if isinstance(top, Node):
        inner = top.items.get("state_dict")
        if isinstance(inner, Node):
            return inner.items
        if any(tensor_node(v) is not None for v in top.items.values()):
            return top.items
    raise ModelError("there is no state_dict in the file")


def canonical(key):
    for prefix in ("model.", "module.", "hyena."):
        if key.startswith(prefix):
            key = key[len(prefix) :]
            break
    key = key.replace(".mixer.layer.", ".mixer.").replace(".mlp.layer.", ".mlp.")
    return re.sub(r"(\.implicit_filter\.)\d+(\.freq)$", r"\g<1>1\2", key)


def read_checkpoint(data, check_crc, note):
    """{canonical name: Tensor}"""
    archive = Zip(data, check_crc)
    roots = [n[: -len("/data.pkl")] for n in archive.entries if n.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ModelError("the file has %s entry data.pkl" % ("no" if not roots else "more than one"))
    root = roots[0]
    if root + "/byteorder" in archive.entries:
        if bytes(archive.read(root + "/byteorder")).strip() != b"little":
            raise ModelError("the file has big-endian data")
    state = state_dict_of(unpickle(bytes(archive.read(root + "/data.pkl"))))
    tensors, origin = {}, {}
    for key, value in state.items():
        if not isinstance(key, str) or "torchmetrics" in key:
            continue
        node = tensor_node(value)
        if node is None:
            note("%s is not a tensor; left out" % key)
            continue
        name = canonical(key)
        tensor = resolve(key, node, archive, root)
        if name in tensors:
            same = (tensors[name].shape == tensor.shape and tensors[name].dtype == tensor.dtype
                    and tensors[name].data == tensor.data)
            if not same:
                raise ModelError("tensors %s and %s differ where one is expected"
                                 % (origin[name], key))
            continue
        tensors[name], origin[name] = tensor, key
    return tensors


# ----------------------------------------------------------------------- model


def read_config(path):
    try:
        with open(path, encoding="utf-8") as f:
            config = json.load(f)
    except ValueError as error:
        raise ModelError("%s is not JSON: %s" % (path, error))
    if not isinstance(config, dict) or not isinstance(config.get("layer", {}), dict):
        raise ModelError("%s is not a model's configuration" % path)
    return config


def reject_unsupported(config):
    """Options of the training code that no released model uses."""
    layer = config.get("layer", {})
    expected = {"order": 2, "num_heads": 1, "inner_factor": 1, "num_blocks": 1,
                "outer_mixing": False, "post_order_ffn": False, "activation": "id",
                "normalized": False, "linear_mixer": False, "modulate": True, "bias": True,
                "bidirectional": False, "short_filter_order": 3}
    for key, value in expected.items():
        if key in layer and layer[key] not in (value, None):
            raise ModelError("option layer.%s = %s is not supported" % (key, layer[key]))
    if config.get("attn_layer_idx"):
        raise ModelError("attention layers are not supported")
    if config.get("max_position_embeddings"):
        raise ModelError("learned position embeddings are not supported")


def decoder_of(tensors, d):
    """The names of a fine-tuned checkpoint's decoder, a linear layer on vectors of width d; []
    without one."""
    for prefix in ("decoder.0.output_transform.", "head.output_transform."):
        weight, bias = prefix + "weight", prefix + "bias"
        if weight not in tensors:
            continue
        shape = tensors[weight].shape
        if len(shape) != 2 or shape[0] < 1 or shape[1] != d:
            raise ModelError("tensor %s has shape %s, expected [classes, %d]" % (weight, shape, d))
        if bias not in tensors:
            return [weight]
        if tensors[bias].shape != shape[:1]:
            raise ModelError("tensor %s has shape %s, expected %s"
                             % (bias, tensors[bias].shape, shape[:1]))
        return [weight, bias]
    return []


def convert(tensors, config, filter_shift, note):
    """(fields of config.json, {Hugging Face name: Tensor})"""
    reject_unsupported(config)
    layer = config.get("layer", {})
    for name in tensors:
        if ".Wqkv." in name:
            raise ModelError("attention layers are not supported (tensor %s)" % name)

    def shape(name, rank):
        if name not in tensors:
            raise ModelError("tensor %s is missing" % name)
        if len(tensors[name].shape) != rank:
            raise ModelError("tensor %s has shape %s" % (name, tensors[name].shape))
        return tensors[name].shape

    v, d = shape("backbone.embeddings.word_embeddings.weight", 2)
    found = {int(m.group(1)) for m in (re.match(r"backbone\.layers\.(\d{1,6})\.", n)
                                       for n in tensors) if m}
    n_layer = len(found)
    if not found or max(found) != n_layer - 1:
        raise ModelError("the layers are not numbered 0 to %d" % (max(found) if found else 0))
    first = "backbone.layers.0."
    inner = shape(first + "mlp.fc1.weight", 2)[0]
    order, e = shape(first + "mixer.filter_fn.implicit_filter.0.weight", 2)
    indices = sorted(int(m.group(1)) for m in (
        re.match(re.escape(first) + r"mixer\.filter_fn\.implicit_filter\.(\d{1,4})\.weight$", n)
        for n in tensors) if m)
    if len(indices) < 2 or indices != list(range(0, 2 * len(indices), 2)):
        raise ModelError("the filter's linear layers are not numbered 0, 2, 4 ...")
    last = indices[-1]
    z = first + "mixer.filter_fn.pos_emb.z"
    if z in tensors:
        m = shape(z, 3)[1]
    elif natural(layer.get("l_max")):
        m = layer["l_max"]
    else:
        raise ModelError("tensor %s is missing, and so is layer.l_max in the configuration" % z)

    p = "backbone.layers.%d."
    f = p + "mixer.filter_fn."
    required = {"backbone.embeddings.word_embeddings.weight": [v, d],
                "backbone.ln_f.weight": [d], "backbone.ln_f.bias": [d]}
    optional = {"lm_head.weight": [v, d]}
    for i in range(n_layer):
        for name, want in ((p + "norm1.weight", [d]), (p + "norm1.bias", [d]),
                           (p + "norm2.weight", [d]), (p + "norm2.bias", [d]),
                           (p + "mixer.in_proj.weight", [3 * d, d]),
                           (p + "mixer.in_proj.bias", [3 * d]),
                           (p + "mixer.out_proj.weight", [d, d]),
                           (p + "mixer.out_proj.bias", [d]),
                           (p + "mixer.short_filter.weight", [3 * d, 1, 3]),
                           (p + "mixer.short_filter.bias", [3 * d]),
                           (f + "bias", [d]),
                           (f + "implicit_filter.1.freq", [1, order]),
                           (p + "mlp.fc1.weight", [inner, d]), (p + "mlp.fc1.bias", [inner]),
                           (p + "mlp.fc2.weight", [d, inner]), (p + "mlp.fc2.bias", [d])):
            required[name % i] = want
        for k in indices:
            width = d if k == last else order
            name = (f % i) + "implicit_filter.%d." % k
            required[name + "weight"] = [width, e if k == 0 else order]
            if k != last:
                required[name + "bias"] = [width]
        optional[(f + "pos_emb.z") % i] = [1, m, e]
        optional[(f + "pos_emb.t") % i] = [1, m, 1]
        optional[(f + "modulation.deltas") % i] = [1, 1, d]
    missing = [n for n in required if n not in tensors]
    if missing:
        more = " and %d more" % (len(missing) - 1) if len(missing) > 1 else ""
        raise ModelError("tensor %s is missing%s" % (missing[0], more))
    for name, want in list(required.items()) + list(optional.items()):
        if name in tensors and tensors[name].shape != want:
            raise ModelError("tensor %s has shape %s, expected %s"
                             % (name, tensors[name].shape, want))
    heads = decoder_of(tensors, d)
    absent = [n for n in optional if n not in tensors and n != "lm_head.weight"]
    if absent:
        note("%d tensors that formulas give (z, t, deltas) are not in the file" % len(absent))
    if "lm_head.weight" not in tensors:
        tensors["lm_head.weight"] = tensors["backbone.embeddings.word_embeddings.weight"]

    out = {}
    for name, tensor in tensors.items():
        if name in required or name in optional:
            out["hyena." + name if name.startswith("backbone.") else name] = tensor
        elif name in heads:
            out[name] = tensor
            note("head kept as %s" % name)
        else:
            note("unused tensor %s left out" % name)

    def field(key, default, table=config):
        value = table.get(key)
        return default if value is None else value

    for key, actual, stated in (
            ("d_model", d, config.get("d_model")), ("n_layer", n_layer, config.get("n_layer")),
            ("d_inner", inner, config.get("d_inner")), ("l_max", m, layer.get("l_max")),
            ("emb_dim", e, layer.get("emb_dim")), ("filter_order", order,
                                                  layer.get("filter_order"))):
        if stated is not None and stated != actual:
            note("the configuration says %s %s, the tensors say %s" % (key, stated, actual))
    vocab, multiple = field("vocab_size", 12), field("pad_vocab_size_multiple", 8)
    if not (natural(vocab) and natural(multiple) and multiple > 0
            and -(-vocab // multiple) * multiple == v):
        note("the configuration's vocabulary does not pad to the %d rows found" % v)
        vocab, multiple = (12, 8) if v == 16 else (v, 1)
    types = {t.dtype for t in out.values()}
    torch_dtype = {"F16": "float16", "BF16": "bfloat16"}.get(
        types.pop() if len(types) == 1 else "", "float32")
    fields = {
        "activation_freq": field("w", 10, layer),
        "architectures": ["HyenaDNAForCausalLM"],
        "d_inner": inner,
        "d_model": d,
        "emb_dim": e,
        "embed_dropout": field("embed_dropout", 0.1),
        "filter_order": order,
        "filter_shift": filter_shift,
        "hyena_dropout": 0.0,
        "hyena_filter_dropout": 0.0,
        "hyena_order": 2,
        "initializer_range": 0.02,
        "layer_norm_epsilon": field("layer_norm_epsilon", 1e-5),
        "max_seq_len": m,
        "model_type": "hyenadna",
        "n_layer": n_layer,
        "num_inner_mlps": len(indices) - 2,
        "pad_token_id": 4,
        "pad_vocab_size_multiple": multiple,
        "short_filter_order": 3,
        "tie_word_embeddings": False,
        "torch_dtype": torch_dtype,
        "train_freq": True,
        "use_bias": True,
        "vocab_size": vocab,
    }
    return fields, out


# ---------------------------------------------------------------------- output


def as_float32(tensor):
    """F64 becomes F32; the other types keep their bytes."""
    if tensor.dtype != "F64":
        return tensor
    values = array("d")
    values.frombytes(bytes(tensor.data))
    if sys.byteorder == "big":
        values.byteswap()
    limit = 3.4028235677973366e38  # from here on the nearest float32 is an infinity
    narrow = array("f", (math.copysign(math.inf, x) if abs(x) >= limit else x for x in values))
    if sys.byteorder == "big":
        narrow.byteswap()
    return Tensor("F32", tensor.shape, memoryview(narrow.tobytes()))


def write_safetensors(f, tensors):
    header, offset, ready = {"__metadata__": {"format": "pt"}}, 0, []
    for name in sorted(tensors):
        tensor = as_float32(tensors[name])
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape,
                        "data_offsets": [offset, end]}
        ready.append(tensor)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    f.write(struct.pack("<Q", len(text)))
    f.write(text)
    for tensor in ready:
        f.write(tensor.data)


def write_directory(directory, fields, tensors):
    """Both files appear under their names only when both are complete."""
    os.makedirs(directory, exist_ok=True)
    text = (json.dumps(fields, indent=2) + "\n").encode("utf-8")
    jobs = [("model.safetensors", lambda f: write_safetensors(f, tensors)),
            ("config.json", lambda f: f.write(text))]
    pending = []
    try:
        for name, write in jobs:
            temporary = os.path.join(directory, ".%s.%d.tmp" % (name, os.getpid()))
            pending.append((temporary, os.path.join(directory, name)))
            with open(temporary, "wb") as f:
                write(f)
                f.flush()
                os.fsync(f.fileno())
        while pending:
            os.replace(*pending[0])
            pending.pop(0)
    finally:
        for temporary, _ in pending:
            try:
                os.unlink(temporary)
            except OSError:
                pass


def main(argv=None):
    p = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", help="weights.ckpt")
    p.add_argument("directory", help="model directory to write")
    p.add_argument("--config", metavar="FILE",
                   help="the checkpoint's config.json (default: the one beside it, if any)")
    p.add_argument("--filter-shift", type=float, default=0.05, metavar="X",
                   help="constant in the filter's window: 0.05 as in the published stand-alone "
                        "and Hugging Face code (default), 0 as in the training code")
    p.add_argument("--ignore-crc", action="store_true",
                   help="do not check the checksums in the file")
    p.add_argument("-f", "--force", action="store_true", help="replace an existing model")
    p.add_argument("-q", "--quiet", action="store_true", help="no notes")
    args = p.parse_args(argv)

    def say(text):
        print("%s: %s" % (NAME, " ".join(str(text).split())), file=sys.stderr)

    def note(text):
        if not args.quiet:
            say("note: " + text)

    if not math.isfinite(args.filter_shift):
        p.error("--filter-shift must be a finite number")
    if not args.force:
        for name in ("config.json", "model.safetensors"):
            if os.path.lexists(os.path.join(args.directory, name)):
                say("%s exists already; --force replaces it"
                    % os.path.join(args.directory, name))
                return EXIT_EXISTS
    try:
        path = args.config
        if path is None:
            path = os.path.join(os.path.dirname(args.checkpoint) or ".", "config.json")
            if not os.path.exists(path):
                note("no config.json beside the checkpoint; the tensors' shapes decide")
                path = None
        config = read_config(path) if path else {}
        with open(args.checkpoint, "rb") as f:
            if os.fstat(f.fileno()).st_size == 0:
                raise ModelError("the file is empty")
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        tensors = read_checkpoint(data, not args.ignore_crc, note)
        fields, out = convert(tensors, config, args.filter_shift, note)
        write_directory(args.directory, fields, out)
    except ModelError as error:
        say("%s: %s" % (args.checkpoint, error))
        return EXIT_MODEL
    except OSError as error:
        say("%s: %s" % (error.filename or args.checkpoint, error.strerror or error))
        return EXIT_IO
    except (ValueError, TypeError, struct.error, OverflowError, MemoryError,
            RecursionError) as error:  # nothing above should raise these
        say("%s: malformed checkpoint (%s)" % (args.checkpoint, type(error).__name__))
        return EXIT_MODEL
    if not args.quiet:
        say("wrote %s: %d layers of width %d, max_seq_len %d, %d tensors" % (
            args.directory, fields["n_layer"], fields["d_model"], fields["max_seq_len"],
            len(out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
