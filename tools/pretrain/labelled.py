"""Labelled sequences: tables, FASTA files a class, or regions of a FASTA file.

An input is one of

  FILE.csv, FILE.tsv      header with the columns sequence and label, in any order
  FILE.bed                BED, column 4 is the class; column 6, if "-", reverse-complements;
                          needs the FASTA file
  CLASS=FILE.fa           all records of a FASTA file

each also with .gz.  Letters are read as crocuta reads them: case does not count, U is T, other
IUPAC codes are N.  BED regions may be read with a flank on both sides, from which a trainer
cuts shifted windows; what lies outside the contig is N.
"""

import csv
import gzip
import hashlib
import os

import numpy as np

from hyenadna import TOKEN_OF, read_fasta

CANONICAL = bytearray(256)
for _letters, _base in ((b"A", b"A"), (b"C", b"C"), (b"G", b"G"), (b"TU", b"T"),
                        (b"NRYSWKMBDHV", b"N")):
    for _letter in _letters:
        CANONICAL[_letter] = CANONICAL[_letter + 32] = _base[0]
CANONICAL = bytes(CANONICAL)
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
TOKENS = np.zeros(256, dtype=np.uint8)
for _base, _token in TOKEN_OF.items():
    TOKENS[ord(_base)] = _token


def canonical(text, where):
    """Upper-case A, C, G, T, N only."""
    out = text.encode("ascii", "replace").translate(CANONICAL).decode("latin-1")
    if "\0" in out:
        raise ValueError("%s: %r is no letter for a base" % (where, text[out.index("\0")]))
    return out


def reverse_complement(sequence):
    return sequence[::-1].translate(COMPLEMENT)


def strand_free(sequence):
    """The sequence or its reverse complement: the same for both."""
    return min(sequence, reverse_complement(sequence))


class Examples:
    """Names, sequences and class names side by side; place is (contig, start, end) or None.

    Each sequence has `flank` more letters on both sides."""

    def __init__(self, flank=0):
        self.flank = flank
        self.names, self.sequences, self.labels, self.places = [], [], [], []

    def __len__(self):
        return len(self.names)

    def add(self, name, sequence, label, place=None):
        if len(sequence) <= 2 * self.flank:
            raise ValueError("%s: empty sequence" % name)
        self.names.append(name)
        self.sequences.append(sequence)
        self.labels.append(label)
        self.places.append(place)

    def core(self, i):
        """The sequence without its flanks."""
        return self.sequences[i][self.flank : len(self.sequences[i]) - self.flank]

    def length(self, i):
        return len(self.sequences[i]) - 2 * self.flank

    def pick(self, keep):
        """The examples with these numbers."""
        out = Examples(self.flank)
        for i in keep:
            out.add(self.names[i], self.sequences[i], self.labels[i], self.places[i])
        return out

    def strand_free(self, i):
        return strand_free(self.core(i))

    def write_fasta(self, path):
        with open(path, "w") as f:
            for i, name in enumerate(self.names):
                f.write(">%s %s\n%s\n" % (name, self.labels[i], self.core(i)))


def open_text(path):
    return gzip.open(path, "rt", newline="") if path.endswith(".gz") else open(path, newline="")


def read_contigs(paths):
    """{name: sequence}; a contig is found with and without "chr" in front."""
    contigs = {}
    for path in paths:
        for name, sequence in read_fasta(path):
            if name in contigs:
                raise ValueError("%s: contig %s is there twice" % (path, name))
            contigs[name] = sequence
    return contigs


def plain_contig(name):
    return name[3:] if name.startswith("chr") else name


def region_text(contigs, name, start, end, where):
    """Letters start..end of a contig, N outside it."""
    sequence = contigs.get(name)
    for other in (plain_contig(name), "chr" + name):
        sequence = contigs.get(other) if sequence is None else sequence
    if sequence is None:
        raise ValueError("%s: contig %s is not in the FASTA file" % (where, name))
    inside = sequence[max(start, 0) : max(min(end, len(sequence)), 0)]
    if not inside:
        raise ValueError("%s: %s:%d-%d is outside the contig" % (where, name, start, end))
    front = "N" * max(-start, 0)
    return front + inside + "N" * (end - start - len(front) - len(inside))


def read_table(path, examples):
    with open_text(path) as f:
        head = f.readline()
        f.seek(0)
        rows = csv.DictReader(f, delimiter="\t" if "\t" in head else ",")
        if not {"sequence", "label"} <= set(rows.fieldnames or ()):
            raise ValueError("%s: no columns sequence and label" % path)
        for i, row in enumerate(rows, 1):
            where = "%s, row %d" % (path, i)
            examples.add(str(i), canonical(row["sequence"].strip(), where), row["label"].strip())


def read_bed(path, contigs, examples):
    with open_text(path) as f:
        for n, line in enumerate(f, 1):
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            where = "%s, line %d" % (path, n)
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) < 4:
                raise ValueError("%s: no class in column 4" % where)
            start, end = int(fields[1]), int(fields[2])
            strand = fields[5] if len(fields) > 5 else "."
            text = region_text(contigs, fields[0], start - examples.flank,
                               end + examples.flank, where)
            text = canonical(text, where)
            if strand == "-":
                text = reverse_complement(text)
            examples.add("%s:%d-%d(%s)" % (fields[0], start, end, strand), text, fields[3],
                         (fields[0], start, end))


def read_examples(inputs, contigs=None, flank=0):
    """All inputs, one after the other.  A flank can be had of BED regions only."""
    examples = Examples(flank)
    for text in inputs:
        label, is_class, path = text.partition("=")
        name = text[:-3] if text.endswith(".gz") else text
        if flank and not name.endswith(".bed"):
            raise ValueError("%s: shifted windows need BED regions" % text)
        if name.endswith((".csv", ".tsv")):
            read_table(text, examples)
        elif name.endswith(".bed"):
            if contigs is None:
                raise ValueError("%s: regions need --fasta" % text)
            read_bed(text, contigs, examples)
        elif is_class:
            for record, sequence in read_fasta(path):
                sequence = canonical(sequence, "%s, record %s" % (path, record))
                examples.add(record, sequence, label)
        else:
            raise ValueError("%s: neither .csv, .tsv, .bed nor CLASS=FILE" % text)
    if not len(examples):
        raise ValueError("no examples in %s" % " ".join(inputs))
    return examples


# ---------------------------------------------------------------------- splits


def parse_region(text):
    """CONTIG or CONTIG:START-END, 0-based and half-open; None for an open end."""
    contig, _, span = text.partition(":")
    if not span:
        return plain_contig(contig), 0, None
    a, _, b = span.replace(",", "").partition("-")
    return plain_contig(contig), int(a), int(b) if b else None


def touches(place, regions):
    """2: inside one of the regions, 1: across its edge, 0: outside all."""
    contig, start, end = plain_contig(place[0]), place[1], place[2]
    most = 0
    for name, a, b in regions:
        if name == contig and start < (end if b is None else b) and end > a:
            most = max(most, 2 if start >= a and (b is None or end <= b) else 1)
    return most


def split_by_regions(examples, valid_regions, test_regions):
    """train, valid, test; examples across an edge are in none."""
    parts = ([], [], [])
    for i, place in enumerate(examples.places):
        if place is None:
            raise ValueError("%s: only BED regions can be split by place" % examples.names[i])
        in_test, in_valid = touches(place, test_regions), touches(place, valid_regions)
        if in_test == 2:
            parts[2].append(i)
        elif in_valid == 2 and in_test == 0:
            parts[1].append(i)
        elif in_test == 0 and in_valid == 0:
            parts[0].append(i)
    return [examples.pick(p) for p in parts]


def hash_share(sequence):
    """A number in [0, 1) that hangs on the sequence alone, the same for both strands."""
    text = strand_free(sequence).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big") / 2.0 ** 56


def split_by_hash(examples, share):
    """rest, share: equal sequences fall on one side."""
    inside = [hash_share(examples.core(i)) < share for i in range(len(examples))]
    return (examples.pick([i for i, x in enumerate(inside) if not x]),
            examples.pick([i for i, x in enumerate(inside) if x]))


def without(examples, others):
    """The examples whose sequence is in none of the others, on either strand, and how many
    were dropped."""
    known = {other.strand_free(i) for other in others for i in range(len(other))}
    keep = [i for i in range(len(examples)) if examples.strand_free(i) not in known]
    return examples.pick(keep), len(examples) - len(keep)


# --------------------------------------------------------------------- classes


def class_order(labels, background=None):
    """Sorted, as numbers if all are; the background first."""
    names = sorted(set(labels))
    if all(n.lstrip("-").isdigit() for n in names):
        names.sort(key=int)
    if background is not None:
        if background not in names:
            raise ValueError("no example has the class %s" % background)
        names.remove(background)
        names.insert(0, background)
    return names


def check_class_names(names):
    """Raise unless head.json may hold them."""
    if not 2 <= len(names) <= 1000:
        raise ValueError("%d classes: a head has 2 to 1000" % len(names))
    for name in names:
        plain = 1 <= len(name) <= 100 and all("!" <= c <= "~" and c not in ",\"'" for c in name)
        if not plain:
            raise ValueError("%r is no class name: up to 100 printable ASCII characters without "
                             "blanks, commas or quotes" % name)


def token_matrix(examples):
    """uint8 tokens (n, longest), 0 behind the end; flanks included."""
    width = max(len(s) for s in examples.sequences)
    out = np.zeros((len(examples), width), dtype=np.uint8)
    for i, s in enumerate(examples.sequences):
        out[i, : len(s)] = TOKENS[np.frombuffer(s.encode(), dtype=np.uint8)]
    return out


def short_path(text):
    """For records: the last two components of a path."""
    label, is_class, path = text.rpartition("=")
    parts = os.path.normpath(path).split(os.sep)[-2:]
    return label + is_class + "/".join(parts)
