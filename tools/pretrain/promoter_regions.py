#!/usr/bin/env python3
"""Labelled windows for a promoter classifier: train.bed, valid.bed, test.bed, sequences.fa.

Positives ("promoter") are windows around transcription starts, on the gene's strand, with the
start at 2/3 of the window, so that a causal model sees upstream first.  Starts on the same strand
within 100 bases are one.  Negatives ("other") lie at least 2 kb from any start of either
strand, on random strands: at random places, on CpG islands, in exons and in gene bodies.  So
windows that are shifted against a promoter, or on its other strand, are in neither class.
Islands and exons that are too few are made up for by gene bodies and random places.

Coordinates are 0-based and half-open.  Windows across an edge of a split's range, with too
many N, or touching a range that is held out, are left out; so are negatives that overlap
another one by more than half.  Writes the counts to stdout and to regions.json.

    promoter_regions.py --tss RefSeqTSS.hg19.txt.gz --cpg CpGIsland.hg19.bed.gz \\
        --exons RefSeqExon.hg19.bed.gz --genes RefSeqGene.hg19.bed.gz \\
        --fasta chr20.fa.gz chrX.fa.gz --chr22-maf chr22.maf.gz --out build/promoters
"""

import argparse
import bisect
import collections
import gzip
import json
import os
import random
import sys

sys.dont_write_bytecode = True
import numpy as np

from hyenadna import read_fasta
from labelled import parse_region, plain_contig

TEST = ["20:50000000-63025520"]
VALID = ["X:50000000-60000000"]
# 20: ranges that no training may see; 22: the demo's sequence (hg19).
HELD_OUT = ["20:1000000-4000000", "20:42900000-43100000", "22:20000000-20200000"]


# ----------------------------------------------------------------------- input


def open_text(path):
    return gzip.open(path, "rt") if path.endswith(".gz") else open(path)


def read_starts(path):
    """{contig: sorted [(position, strand)]} of BED with a strand in column 6, or of
    lines contig, position, strand."""
    starts = collections.defaultdict(set)
    with open_text(path) as f:
        for n, line in enumerate(f, 1):
            fields = line.split()
            if not fields or fields[0].startswith("#"):
                continue
            strand = fields[5] if len(fields) >= 6 else fields[2] if len(fields) == 3 else ""
            if strand not in ("+", "-"):
                raise ValueError("%s, line %d: no strand (BED with 6 columns, or contig, "
                                 "position, strand)" % (path, n))
            starts[plain_contig(fields[0])].add((int(fields[1]), strand))
    return {c: sorted(s) for c, s in starts.items()}


def read_bed3(path, contigs):
    """[(contig, start, end)] on the given contigs, each once, sorted."""
    out = set()
    with open_text(path) as f:
        for line in f:
            fields = line.split()
            if fields and not fields[0].startswith("#") and plain_contig(fields[0]) in contigs:
                out.add((plain_contig(fields[0]), int(fields[1]), int(fields[2])))
    return sorted(out)


def maf_sequence(path, source="Hsap.22"):
    """(bytes, bases placed) of one row's sequence in a MAF file; N between the blocks."""
    out, placed = None, 0
    with open_text(path) as f:
        for line in f:
            if not line.startswith("s " + source + " "):
                continue
            _, _, start, size, strand, length, text = line.split()
            start, text = int(start), text.replace("-", "").encode()
            if strand != "+" or len(text) != int(size):
                raise ValueError("%s: a block at %d of strand %s, %d of %s letters" % (
                    path, start, strand, len(text), size))
            if out is None:
                out = bytearray(b"N" * int(length))
            out[start : start + len(text)] = text
            placed += len(text)
    if out is None:
        raise ValueError("%s: no row of %s" % (path, source))
    return bytes(out), placed


def read_sequences(args):
    """{contig without "chr": bytes}"""
    contigs = {}
    for path in args.fasta:
        for name, text in read_fasta(path):
            contigs[plain_contig(name)] = text.encode()
    if args.chr22_maf:
        contigs["22"], placed = maf_sequence(args.chr22_maf)
        print("22: %d of %d bases from the MAF blocks" % (placed, len(contigs["22"])))
    return contigs


class Gaps:
    """How many letters other than A, C, G, T a window has."""

    def __init__(self, contigs):
        self.sums = {}
        known = np.zeros(256, dtype=bool)
        known[list(b"ACGTacgt")] = True
        for name, text in contigs.items():
            other = ~known[np.frombuffer(text, dtype=np.uint8)]
            self.sums[name] = np.concatenate([[0], np.cumsum(other, dtype=np.int32)])

    def count(self, contig, start, end):
        return int(self.sums[contig][end] - self.sums[contig][start])


# ---------------------------------------------------------------------- ranges


def subtract(ranges, holes):
    """Ranges (contig, a, b) without the holes."""
    for name, x, y in holes:
        rest = []
        for contig, a, b in ranges:
            if contig != name or y <= a or x >= b:
                rest.append((contig, a, b))
                continue
            rest += [(contig, i, j) for i, j in ((a, x), (y, b)) if i < j]
        ranges = rest
    return ranges


def split_ranges(contigs, args):
    """{"train", "valid", "test"}: lists of (contig, a, b)."""
    def closed(texts):
        out = []
        for contig, a, b in map(parse_region, texts):
            if contig in contigs:
                size = len(contigs[contig])
                out.append((contig, a, min(size, size if b is None else b)))
        return out

    test, valid, held = closed(args.test), closed(args.valid), closed(args.held_out)
    whole = [(name, 0, len(text)) for name, text in contigs.items()]
    return {"train": subtract(whole, test + valid + held), "valid": subtract(valid, test + held),
            "test": subtract(test, held)}


def inside(ranges, contig, start, end):
    return any(c == contig and a <= start and end <= b for c, a, b in ranges)


# --------------------------------------------------------------------- windows


def merge_starts(starts, within):
    """Starts of one strand in chains of at most `within` bases become the middle one."""
    out = []
    for wanted in "+-":
        chain = []
        for position, strand in starts:
            if strand != wanted:
                continue
            if chain and position - chain[-1] > within:
                out.append((chain[len(chain) // 2], wanted))
                chain = []
            chain.append(position)
        if chain:
            out.append((chain[len(chain) // 2], wanted))
    return sorted(out)


def window_of(position, strand, window, at):
    """The window that has the base `position` at its index `at` in reading direction."""
    start = position - at if strand == "+" else position + at + 1 - window
    return start, start + window


class Maker:
    """Draws windows of one split."""

    def __init__(self, contigs, starts, gaps, ranges, args, rng):
        self.contigs, self.gaps, self.ranges = contigs, gaps, ranges
        self.args, self.rng = args, rng
        self.positions = {c: [p for p, _ in s] for c, s in starts.items()}
        self.taken = collections.defaultdict(list)  # starts of negatives, sorted

    def sound(self, contig, start, end):
        """In this split's ranges, and hardly any N."""
        return (inside(self.ranges, contig, start, end)
                and self.gaps.count(contig, start, end) <= self.args.max_n * (end - start))

    def far(self, contig, start, end):
        at = self.positions.get(contig, [])
        return bisect.bisect_left(at, start - self.args.away) == bisect.bisect_left(
            at, end + self.args.away)

    def positives(self, merged):
        """(contig, start, end, strand), and how many were left out for an edge and for N."""
        out, left = [], {"edge": 0, "n": 0}
        for contig, starts in sorted(merged.items()):
            for position, strand in starts:
                if not inside(self.ranges, contig, position, position + 1):
                    continue
                start, end = window_of(position, strand, self.args.window, self.args.tss_at)
                if self.sound(contig, start, end):
                    out.append((contig, start, end, strand))
                else:
                    left["n" if inside(self.ranges, contig, start, end) else "edge"] += 1
        return out, left

    def take(self, contig, start):
        """A negative window, or None if this place will not do."""
        end = start + self.args.window
        if not self.sound(contig, start, end) or not self.far(contig, start, end):
            return None
        near, at = self.taken[contig], bisect.bisect_left(self.taken[contig], start)
        for other in near[max(at - 1, 0) : at + 1]:
            if abs(other - start) < self.args.window // 2:
                return None
        near.insert(at, start)
        return contig, start, end, self.rng.choice("+-")

    def negatives(self, count, draw):
        """Up to `count` windows that start where draw() says."""
        out, tries = [], 0
        while len(out) < count and tries < 40 * count + 2000:
            tries += 1
            got = self.take(*draw())
            if got:
                out.append(got)
        return out

    def at_random(self):
        sizes = [b - a for _, a, b in self.ranges]
        contig, a, b = self.rng.choices(self.ranges, weights=sizes)[0]
        return contig, self.rng.randrange(a, b)

    def around(self, features, anywhere):
        """A drawer of windows centred on any base of a feature, or near its start or end."""
        mine = [f for f in features
                if any(c == f[0] and f[1] < b and f[2] > a for c, a, b in self.ranges)]
        weights = [f[2] - f[1] for f in mine] if anywhere else None
        total = list(np.cumsum(weights)) if anywhere else None

        def draw():
            contig, a, b = self.rng.choices(mine, cum_weights=total)[0]
            if anywhere:
                return contig, self.rng.randrange(a, b) - self.args.window // 2
            middle = self.rng.choice((a, (a + b) // 2, b))
            jitter = self.rng.randint(-self.args.window // 4, self.args.window // 4)
            return contig, middle - self.args.window // 2 + jitter

        return draw if mine else None


def make_split(maker, merged, features, args):
    """Rows (contig, start, end, class, strand) and counts a kind."""
    positives, left = maker.positives(merged)
    total = round(args.ratio * len(positives))
    counts = {"promoter": len(positives), "promoter_left_out_edge": left["edge"],
              "promoter_left_out_n": left["n"]}
    rows = [(c, a, b, "promoter", s) for c, a, b, s in positives]
    missing = 0
    for kind, share in (("cpg", args.shares[0]), ("exon", args.shares[1]),
                        ("gene", args.shares[2]), ("random", 1 - sum(args.shares))):
        # What islands and exons could not give is split over bodies and random places.
        extra = missing // 2 if kind == "gene" else missing if kind == "random" else 0
        want = round(total * share) + extra
        draw = maker.at_random
        if kind != "random":
            draw = maker.around(features[kind], kind == "gene")
        got = maker.negatives(want, draw) if draw else []
        missing += round(total * share) - len(got)
        counts[kind] = len(got)
        rows += [(c, a, b, "other", s) for c, a, b, s in got]
    return sorted(rows), counts


# ---------------------------------------------------------------------- output


def write_bed(path, rows):
    with open(path, "w") as f:
        for contig, start, end, name, strand in rows:
            f.write("%s\t%d\t%d\t%s\t0\t%s\n" % (contig, start, end, name, strand))


def write_fasta(path, contigs, width=60):
    """A FASTA file and its .fai."""
    with open(path, "wb") as f, open(path + ".fai", "w") as index:
        for name, text in contigs.items():
            f.write(b">%s\n" % name.encode())
            index.write("%s\t%d\t%d\t%d\t%d\n" % (name, len(text), f.tell(), width, width + 1))
            for i in range(0, len(text), width * 10000):
                piece = text[i : i + width * 10000]
                f.write(b"\n".join(piece[j : j + width] for j in range(0, len(piece), width)))
                f.write(b"\n")


def write_masked(path, contigs, rows, flank):
    """Gzipped FASTA of the same coordinates with N outside the windows and their flanks."""
    with gzip.open(path, "wb", compresslevel=6) as f:
        for name, text in contigs.items():
            out = bytearray(b"N" * len(text))
            for contig, start, end, _, _ in rows:
                if contig == name:
                    a, b = max(start - flank, 0), end + flank
                    out[a:b] = text[a:b]
            f.write(b">%s\n" % name.encode())
            for i in range(0, len(out), 6000):
                f.write(bytes(out[i : i + 6000]) + b"\n")


def initiator_share(contigs, starts):
    """Share of starts with a pyrimidine before a purine, as most have: a check that positions
    and strands are understood (27 % by chance)."""
    hits = total = 0
    for contig, pairs in starts.items():
        for position, strand in pairs:
            two = contigs[contig][position - 1 : position + 1] if strand == "+" else \
                contigs[contig][position : position + 2]
            two = two.upper()
            if len(two) == 2 and b"N" not in two:
                wanted = (b"CT", b"AG")
                hits += two[:1] in wanted[0] and two[1:] in wanted[1]
                total += 1
    return hits / max(total, 1)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tss", required=True,
                   help="transcription starts: BED with strand, or contig, position, strand")
    p.add_argument("--cpg", required=True, help="BED of CpG islands")
    p.add_argument("--exons", required=True, help="BED")
    p.add_argument("--genes", required=True, help="BED")
    p.add_argument("--fasta", nargs="+", required=True, help="contigs, with or without chr")
    p.add_argument("--chr22-maf", metavar="FILE", help="take contig 22 from a MAF file")
    p.add_argument("--out", required=True, metavar="DIR")
    p.add_argument("--window", type=int, default=1024)
    p.add_argument("--tss-at", type=int, help="index of the start; default: 2/3 of the window")
    p.add_argument("--merge", type=int, default=100, help="starts so near are one")
    p.add_argument("--away", type=int, default=2000, help="bases from a negative to any start")
    p.add_argument("--max-n", type=float, default=0.1, help="largest share of N in a window")
    p.add_argument("--ratio", type=float, default=10.0, help="negatives a positive")
    p.add_argument("--shares", type=float, nargs=3, default=(0.1, 0.15, 0.25),
                   metavar=("CPG", "EXON", "GENE"),
                   help="of the negatives; the rest is at random places")
    p.add_argument("--test", nargs="+", default=TEST, metavar="CONTIG:FROM-TO")
    p.add_argument("--valid", nargs="+", default=VALID, metavar="CONTIG:FROM-TO")
    p.add_argument("--held-out", nargs="+", default=HELD_OUT, metavar="CONTIG:FROM-TO")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--masked", type=int, metavar="FLANK",
                   help="also write windows.fa.gz: N but for the windows and FLANK bases beside "
                        "them; enough for training, and small")
    p.add_argument("--no-fasta", action="store_true", help="do not write sequences.fa")
    args = p.parse_args()
    if args.tss_at is None:
        args.tss_at = round(args.window * 2 / 3)
    contigs = read_sequences(args)
    starts = {c: s for c, s in read_starts(args.tss).items() if c in contigs}
    starts = {c: [x for x in s if x[0] < len(contigs[c])] for c, s in starts.items()}
    features = {"cpg": read_bed3(args.cpg, contigs), "exon": read_bed3(args.exons, contigs),
                "gene": read_bed3(args.genes, contigs)}
    merged = {c: merge_starts(s, args.merge) for c, s in starts.items()}
    gaps = Gaps(contigs)
    log = {"window": args.window, "tss_at": args.tss_at, "ratio": args.ratio, "seed": args.seed,
           "away": args.away, "held_out": list(args.held_out), "test": list(args.test),
           "valid": list(args.valid),
           "starts": {c: {"distinct": len(s), "merged": len(merged[c])}
                      for c, s in starts.items()},
           "pyrimidine_purine_at_start": round(initiator_share(contigs, merged), 4)}
    print(json.dumps(log["starts"]), "YR at", log["pyrimidine_purine_at_start"])
    os.makedirs(args.out, exist_ok=True)
    log["counts"], everything = {}, []
    for name, ranges in split_ranges(contigs, args).items():
        rng = random.Random("%d %s" % (args.seed, name))
        maker = Maker(contigs, starts, gaps, ranges, args, rng)
        rows, log["counts"][name] = make_split(maker, merged, features, args)
        everything += rows
        write_bed(os.path.join(args.out, name + ".bed"), rows)
        print("%-5s %5d windows  %s" % (name, len(rows), json.dumps(log["counts"][name])))
    if args.masked is not None:
        write_masked(os.path.join(args.out, "windows.fa.gz"), contigs, everything, args.masked)
    if not args.no_fasta:
        write_fasta(os.path.join(args.out, "sequences.fa"), contigs)
    with open(os.path.join(args.out, "regions.json"), "w") as f:
        json.dump(log, f, indent=1)
        f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
