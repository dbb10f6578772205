#!/usr/bin/env python3
"""Pack training and validation sequence into one small file (2 bits a base).

Sources and split (GRCh37 coordinates, 1-based in the text, half-open in the code):

  training    chrX:1-70M, chr20 outside the held-out ranges, chr22 as far as an
              alignment has it, extra human pieces
  validation  chr20:50-63 Mb
  held out    chr20:1-4 Mb and chr20:42.9-43.1 Mb, for tests on variants

Extra pieces come from many assemblies, so they could contain held-out sequence.
Pieces that say they are chromosome 20 are dropped.  Every other piece, and chr22
because it comes from an alignment, is searched
for 64-mers of the held-out and validation ranges, on both strands (every eighth
position of the piece against every position of the ranges, so that no shared
stretch of 71 bases or more escapes), and each tile of 1,024 bases with a match is
dropped, which also drops repeats that happen to be identical.

The output is a NumPy .npz with the arrays
  packed                 bases, four to a byte, first base in the low bits, A C G T = 0 1 2 3
  other_start/length     runs of other letters (stored as A) in the joined sequence
  segment_start/length   contiguous pieces in the joined sequence
  segment_role           0 training, 1 validation
  meta                   JSON text: names, counts, what was dropped
"""

import argparse
import glob
import gzip
import hashlib
import json
import os
import sys

import numpy as np

CHR20_MD5 = "0dec9660ec1efaaf33281c0d5ea2560f"
VALIDATION = (50000000, 63000000)
HELD_OUT = [(1000000, 4000000), (42900000, 43100000)]
TILE = 1024
GAP = 64  # a run of this many other letters splits a training segment
MAF_GAP = 1000  # the same where an alignment leaves stretches between its blocks out
MAF_ROW = "Hsap.22"

CODE = np.full(256, 4, dtype=np.uint8)
for letters, value in ((b"Aa", 0), (b"Cc", 1), (b"Gg", 2), (b"Tt", 3)):
    for letter in letters:
        CODE[letter] = value


def read_codes(path):
    """Yield (header, codes): A C G T = 0 1 2 3 without regard to case, all else 4."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as f:
        data = f.read()
    for record in (b"\n" + data).split(b"\n>")[1:]:
        header, _, body = record.partition(b"\n")
        body = body.replace(b"\n", b"").replace(b"\r", b"")
        yield header.decode("ascii", "replace").strip(), CODE[np.frombuffer(body, np.uint8)]


def read_maf(path, row):
    """Codes of a whole chromosome from the rows of one species in a MAF file.

    Gap characters are dropped and each row is put at its place; what no block covers
    stays 4.  Also the number of rows.
    """
    opener = gzip.open if path.endswith(".gz") else open
    codes, count = None, 0
    with opener(path, "rb") as f:
        for line in f:
            fields = line.split()
            if len(fields) != 7 or fields[0] != b"s" or fields[1] != row.encode():
                continue
            start, size, whole = int(fields[2]), int(fields[3]), int(fields[5])
            bases = CODE[np.frombuffer(fields[6].replace(b"-", b""), np.uint8)]
            if fields[4] != b"+" or len(bases) != size or not 0 <= start <= whole - size:
                raise ValueError("%s: row of %s at %d is not as expected" % (path, row, start))
            if codes is None:
                codes = np.full(whole, 4, dtype=np.uint8)
            codes[start : start + size] = bases
            count += 1
    if codes is None:
        raise ValueError("%s: no row named %s" % (path, row))
    return codes, count


def mix(x):
    """A bijection of 64-bit words that scatters the bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hash64mers(codes):
    """Per start position, a 64-bit hash of the 64-mer there; and whether it is all ACGT."""
    n = len(codes)
    word = (codes & 3).astype(np.uint64)
    width = 1
    while width < 32:  # word of 2w bases = word of w, then the word w further on
        word = (word[:-width] << np.uint64(2 * width)) | word[width:]
        width *= 2
    h = mix(mix(word[: n - 63]) + np.uint64(0x9E3779B97F4A7C15) ^ word[32:])
    bad = np.concatenate([[0], np.cumsum(codes > 3)])
    return h, bad[64:] == bad[:-64]


def strand_free_hashes(codes):
    """The smaller of the hashes of a 64-mer and of its reverse complement."""
    forward, valid = hash64mers(codes)
    flipped = np.where(codes < 4, 3 - codes, 4).astype(np.uint8)[::-1]
    backward, _ = hash64mers(np.ascontiguousarray(flipped))
    return np.minimum(forward, backward[::-1]), valid


def runs(mask):
    """Starts and lengths of the runs of true values."""
    edge = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return edge[::2], edge[1::2] - edge[::2]


def split_at_gaps(codes, base, keep=None, gap=GAP):
    """(offset, codes) of pieces between long runs of other letters or dropped bases."""
    start, length = runs(codes > 3)
    cut = np.zeros(len(codes), dtype=bool)
    for s, l in zip(start, length):
        if l >= gap:
            cut[s : s + l] = True
    if keep is not None:
        cut |= ~keep
    start, length = runs(~cut)
    return [(base + int(s), codes[s : s + l]) for s, l in zip(start, length) if l > TILE]


def sampled_matches(codes, index, stride):
    """Positions (multiples of stride) whose 64-mer occurs in the sorted index."""
    if len(codes) < 64:
        return np.zeros(0, dtype=np.int64), 0
    h, valid = strand_free_hashes(codes)
    at = np.arange(0, len(h), stride)
    at = at[valid[at]]
    where = np.minimum(np.searchsorted(index, h[at]), len(index) - 1)
    return at[index[where] == h[at]], len(at)


def leak_check(codes, index):
    """Which bases to keep, and the figures: tiles that share a 64-mer are dropped."""
    hits, count = sampled_matches(codes, index, 8)
    tiles = -(-len(codes) // TILE)
    bad = np.bincount(hits // TILE, minlength=tiles) if len(hits) else np.zeros(tiles, int)
    # A match may run into the next tile.
    over = np.bincount((hits + 63) // TILE, minlength=tiles)[:tiles] if len(hits) else bad
    drop = (bad + over) > 0
    keep = np.repeat(~drop, TILE)[: len(codes)]
    return keep, {"tiles": tiles, "tiles_dropped": int(drop.sum()), "matches": len(hits),
                  "sampled": count, "densest_tile": int(bad.max()) if tiles else 0}


def chr22_segments(path, index, log):
    """Training segments from the human rows of an alignment."""
    codes, rows = read_maf(path, MAF_ROW)
    covered = np.flatnonzero(codes < 4)
    first = int(covered[0]) // TILE * TILE
    codes = codes[first : int(covered[-1]) + 1]
    keep, figures = leak_check(codes, index)
    # Tiles that no block touches are no part of the count.
    filled = np.bincount((covered - first) // TILE, minlength=figures["tiles"]) > 0
    figures["tiles"] = int(filled.sum())
    entry = dict({"name": "chr22", "blocks": rows, "bases": len(covered)}, **figures)
    log["sources"].append(entry)
    out = [(0, "chr22", s, c) for s, c in split_at_gaps(codes, first, keep, MAF_GAP)]
    print("chr22: %d bases in %d blocks, dropped %d of %d tiles, densest %d; %d ACGT kept "
          "in %d segments" % (len(covered), rows, entry["tiles_dropped"], entry["tiles"],
                              entry["densest_tile"], sum(int((c < 4).sum()) for *_, c in out),
                              len(out)), flush=True)
    return out


def looks_like_chr20(header):
    words = header.lower().replace("=", " ").replace(":", " ").replace("|", " ").split()
    return any(w in ("20", "chr20", "nc_000020") or w.startswith("nc_000020.") for w in words)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--chr20", required=True, help="FASTA of GRCh37 chromosome 20")
    p.add_argument("--chrx", required=True, help="FASTA of GRCh37 chromosome X, first 70 Mb")
    p.add_argument("--chr22-maf", metavar="FILE",
                   help="MAF alignment with human rows named %s" % MAF_ROW)
    p.add_argument("--extra", nargs="*", default=[], metavar="PATH",
                   help="FASTA files, or directories of them, with more human sequence")
    p.add_argument("--exclude", nargs="*", default=[], metavar="TEXT",
                   help="leave out extra files whose name contains TEXT")
    p.add_argument("--out", required=True, help="output .npz")
    args = p.parse_args()

    log = {"sources": [], "dropped": []}
    segments = []  # role, name, offset, codes

    (_, chr20), = read_codes(args.chr20)
    text = np.frombuffer(b"ACGTN", np.uint8)[chr20].tobytes()
    md5 = hashlib.md5(text).hexdigest()
    del text
    log["chr20_md5"] = md5
    if md5 != CHR20_MD5:
        print("prepare_data: warning: chromosome 20 is not the expected sequence "
              "(md5 %s)" % md5, file=sys.stderr)

    kept_out = sorted(HELD_OUT + [VALIDATION])
    index = np.concatenate([
        h[valid] for h, valid in (strand_free_hashes(chr20[a:b]) for a, b in kept_out)])
    index.sort()
    print("held-out 64-mers: %d" % len(index), flush=True)

    (name, chrx), = read_codes(args.chrx)
    segments += [(0, "chrX", s, c) for s, c in split_at_gaps(chrx, 0)]
    log["sources"].append({"name": "chrX", "header": name, "bases": len(chrx)})
    end = 0
    for a, b in kept_out + [(len(chr20), len(chr20))]:
        segments += [(0, "chr20", s, c) for s, c in split_at_gaps(chr20[end:a], end)]
        end = b
    log["sources"].append({"name": "chr20", "bases": len(chr20)})

    # For the record only: repeats shared between the split's own training part and the ranges.
    shared = tested = 0
    for role, _, _, codes in segments:
        hits, count = sampled_matches(codes, index, 32)
        shared, tested = shared + len(hits), tested + count
    log["shared_64mers_chrX_chr20"] = {"sampled": tested, "found_in_held_out": shared}
    print("chrX and chr20 training part: %d of %d sampled 64-mers occur in the held-out "
          "ranges (repeats)" % (shared, tested), flush=True)

    if args.chr22_maf:
        segments += chr22_segments(args.chr22_maf, index, log)

    paths = []
    for path in args.extra:
        paths += sorted(glob.glob(os.path.join(path, "*.fa*"))) if os.path.isdir(path) else [path]
    for path in paths:
        base = os.path.basename(path)
        if any(t in base for t in args.exclude):
            log["dropped"].append({"file": base, "why": "excluded by name"})
            continue
        for header, codes in read_codes(path):
            entry = {"file": base, "record": header[:60], "bases": int((codes < 4).sum())}
            if looks_like_chr20(header):
                log["dropped"].append(dict(entry, why="chromosome 20"))
                print("dropped %s %s: chromosome 20" % (base, header[:40]))
                continue
            keep, figures = leak_check(codes, index)
            entry.update(figures)
            log["sources"].append(entry)
            segments += [(0, "%s:%s" % (base, header[:40]), s, c)
                         for s, c in split_at_gaps(codes, 0, keep)]
            print("%-60s %-24s %8d bases, dropped %d of %d tiles, densest %d" % (
                base, header[:24], entry["bases"], entry["tiles_dropped"], entry["tiles"],
                entry["densest_tile"]), flush=True)

    a, b = VALIDATION
    segments.append((1, "chr20", a, chr20[a:b]))

    joined = np.concatenate([c for _, _, _, c in segments])
    lengths = np.array([len(c) for _, _, _, c in segments], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    roles = np.array([r for r, _, _, _ in segments], dtype=np.uint8)
    other_start, other_length = runs(joined > 3)
    acgt = np.array([int((c < 4).sum()) for _, _, _, c in segments])
    log["training_acgt"] = int(acgt[roles == 0].sum())
    log["validation_acgt"] = int(acgt[roles == 1].sum())
    log["segments"] = [[n, s, len(c)] for _, n, s, c in segments]
    two_bits = np.where(joined > 3, 0, joined)
    two_bits = np.concatenate([two_bits, np.zeros(-len(two_bits) % 4, np.uint8)]).reshape(-1, 4)
    packed = (two_bits[:, 0] | two_bits[:, 1] << 2 | two_bits[:, 2] << 4
              | two_bits[:, 3] << 6).astype(np.uint8)
    with open(args.out + ".tmp", "wb") as f:
        np.savez(f, packed=packed, other_start=other_start, other_length=other_length,
                 segment_start=starts, segment_length=lengths, segment_role=roles,
                 meta=np.frombuffer(json.dumps(log).encode(), np.uint8))
    os.replace(args.out + ".tmp", args.out)
    print("training %d ACGT in %d segments, validation %d ACGT; %d bytes packed" % (
        log["training_acgt"], int((roles == 0).sum()), log["validation_acgt"], len(packed)))
    dropped = sum(s.get("tiles_dropped", 0) for s in log["sources"])
    print("tiles dropped for a shared 64-mer: %d of %d" % (
        dropped, sum(s.get("tiles", 0) for s in log["sources"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
