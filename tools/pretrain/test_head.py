#!/usr/bin/env python3
"""Checks of head.py and labelled.py: pooling against plain loops over single sequences, files,
strands of regions, splits."""

import os
import sys
import tempfile

sys.dont_write_bytecode = True
import torch

import labelled
from head import (POOLS, STRANDS, Form, Head, fixed_filters, flip, read_head, sha256_of,
                  vectors_of, write_head)
from hyenadna import PAD, Config, HyenaDNA, tokenize

SEQUENCES = ["ACGTNACGGT", "TTGACCATGACCA", "GGGATTACAAATTT"]


def small_model():
    torch.manual_seed(3)
    cfg = Config(d_model=8, n_layer=2, max_seq_len=34, emb_dim=5, filter_order=8,
                 activation_freq=10)
    return HyenaDNA(cfg).double().eval()


def padded(sequences):
    lengths = torch.tensor([len(s) for s in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), PAD)
    for i, s in enumerate(sequences):
        ids[i, : len(s)] = torch.tensor(tokenize(s))
    return ids, lengths


def pooled_plainly(rows, size, kind, reverse):
    """rows (L, D) in base order."""
    out = []
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        if reverse and kind in ("last", "first"):
            part = part.flip(0)
        out.append({"mean": part.mean(0), "sum": part.sum(0), "max": part.amax(0),
                    "first": part[0], "last": part[-1]}[kind])
    return torch.stack(out)


def plain_features(vectors, sequence, kind, parts, strands):
    size = -(-len(sequence) // parts)
    forward = vectors(torch.tensor([tokenize(sequence)]))[0]
    other = labelled.reverse_complement(sequence)
    reverse = vectors(torch.tensor([tokenize(other)]))[0].flip(0)
    f = pooled_plainly(forward, size, kind, False)
    r = pooled_plainly(reverse, size, kind, True)
    return {"forward": f, "reverse": r, "both": (f + r) / 2,
            "concat": torch.cat([f, r], 1)}[strands].flatten()


def test_features():
    model = small_model()
    ids, lengths = padded(SEQUENCES)
    for layer in (0, 1, 2):
        vectors = vectors_of(model, layer)
        for kind in POOLS:
            for strands in STRANDS:
                for parts in (1, 3):
                    form = Form(layer, kind, parts, strands)
                    with torch.no_grad():
                        got = form.features(vectors, ids, lengths)
                        want = torch.stack([plain_features(vectors, s, kind, parts, strands)
                                            for s in SEQUENCES])
                    assert got.shape[1] == form.columns(8)
                    assert torch.allclose(got.double(), want, atol=2e-6), (layer, kind, strands)


def test_flip():
    ids, lengths = padded(SEQUENCES)
    want, _ = padded([labelled.reverse_complement(s) for s in SEQUENCES])
    assert torch.equal(flip(ids, lengths), want)


def test_fixed_filters():
    model = small_model()
    ids, _ = padded(SEQUENCES)
    with torch.no_grad():
        before = model.backbone(ids)
        with fixed_filters(model, 20):
            assert torch.allclose(model.backbone(ids), before, atol=1e-12)
        assert torch.equal(model.backbone(ids), before)


def test_files():
    head = Head(6, 3)
    x = torch.randn(4, 6)
    with tempfile.TemporaryDirectory() as d:
        model_file = os.path.join(d, "model.safetensors")
        with open(model_file, "wb") as f:
            f.write(b"weights")
        write_head(d, head, {
            "backbone": {"name": "x", "sha256": sha256_of(model_file)}, "classes": list("abc"),
            "layer": 2, "pool": "max", "parts": 3, "strands": "forward", "hidden": 0})
        record, form, again = read_head(d, model_file)
        assert torch.equal(again(x), head(x)) and form.parts == 3 and record["layer"] == 2
        with open(model_file, "ab") as f:
            f.write(b".")
        try:
            read_head(d, model_file)
            raise AssertionError("a head for another model was read")
        except ValueError:
            pass
    logits = head(x)
    head.cool(2.0)
    assert torch.allclose(head(x) * 2, logits, atol=1e-6)


def test_inputs():
    with tempfile.TemporaryDirectory() as d:
        def put(name, text):
            path = os.path.join(d, name)
            with open(path, "w") as f:
                f.write(text)
            return path

        table = put("x.tsv", "label\tsequence\n1\tacgu\n0\tRRA\n")
        got = labelled.read_examples([table])
        assert got.sequences == ["ACGT", "NNA"] and got.labels == ["1", "0"]
        bed = put("x.bed", "chr1\t2\t5\tyes\t0\t-\n1\t0\t4\tno\t0\t+\n")
        got = labelled.read_examples([bed], {"1": "AACCGGTT"}, flank=2)
        assert got.sequences == ["ACCGGTT", "NNAACCGG"]
        assert [got.core(i) for i in (0, 1)] == ["CGG", "AACC"]
        train, valid, test = labelled.split_by_regions(got, [("1", 1, None)], [("1", 0, 5)])
        assert (len(train), len(valid), len(test)) == (0, 0, 2)
        train, valid, test = labelled.split_by_regions(got, [("1", 1, None)], [])
        assert (len(train), len(valid), len(test)) == (0, 1, 0)  # the second crosses the edge
        fasta = put("x.fa", ">a\nACGT\nAC\n>b\nTT\n")
        got = labelled.read_examples(["yes=" + fasta])
        assert got.names == ["a", "b"] and got.labels == ["yes", "yes"]
    assert labelled.hash_share("AACG") == labelled.hash_share("CGTT")
    assert labelled.class_order(["10", "9"]) == ["9", "10"]
    assert labelled.class_order(["a", "b"], "b") == ["b", "a"]
    kept, dropped = labelled.without(got, [got.pick([1])])
    assert dropped == 1 and kept.names == ["a"]


def main():
    tests = [f for name, f in sorted(globals().items()) if name.startswith("test_")]
    for test in tests:
        test()
    print("%d passed" % len(tests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
