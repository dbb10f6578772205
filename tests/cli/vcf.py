#!/usr/bin/env python3
"""vcf.py - read outputs of `crocuta score` without our code or htslib, for the tests.

    vcf.py table FILE [PREFIX]         one line an ALT, from VCF (plain, bgzip; BCF by bcftools) or TSV:
                                       CHROM POS ID REF ALT LLR LLR_FWD LLR_REV DIST STATUS
    vcf.py near A B TOLERANCE          do two tables (a header line, any columns) agree? Columns that A
                                       has and B lacks must be "." in A
    vcf.py reverse FASTA IN OUT        records of the reverse-complemented FASTA
    vcf.py exchange                    stdin to stdout: a table with LLR_FWD and LLR_REV exchanged
    vcf.py snvs FASTA REGION           a VCF with every SNV of CHROM:FIRST-LAST
    vcf.py npy FILE TABLE FIRST        does a 4 x L array hold the LLR of the table's SNVs?
    vcf.py groups                      stdin: do lines whose ID agrees up to a dot have equal numbers?
"""
import gzip
import math
import subprocess
import sys

COLUMNS = ["LLR", "LLR_FWD", "LLR_REV", "DIST", "STATUS"]
HEADER = ["#CHROM", "POS", "ID", "REF", "ALT"] + COLUMNS


def lines_of(path):
    raw = sys.stdin.buffer.read() if path == "-" else open(path, "rb").read()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if raw[:3] == b"BCF":
        raw = subprocess.run(["bcftools", "view", "--no-version", path], check=True,
                             stdout=subprocess.PIPE).stdout
    text = raw.decode()
    if not text.endswith("\n"):
        sys.exit(f"{path}: no line end at its end")
    return text[:-1].split("\n")


def rows_of(path, prefix="CROCUTA"):
    """(names of columns, rows)"""
    names, rows, vcf = None, [], False
    for line in lines_of(path):
        fields = line.split("\t")
        if line.startswith("##"):
            vcf = vcf or line.startswith("##fileformat")
        elif line.startswith("#"):
            names = HEADER if vcf else fields
        elif not vcf:
            if len(fields) != len(names):
                sys.exit(f"{path}: {len(fields)} columns, {len(names)} in the header: {line[:200]}")
            rows.append(fields)
        else:
            info = dict(p.partition("=")[::2] for p in fields[7].split(";"))
            alts = fields[4].split(",")
            tags = []
            for column in COLUMNS:
                value = info.get(f"{prefix}_{column}")
                values = ["."] * len(alts) if value is None else value.split(",")
                if len(values) != len(alts):
                    sys.exit(f"{path}: {column} has {len(values)} values for {len(alts)} ALTs: {line[:200]}")
                if alts == ["."] and value is not None:
                    sys.exit(f"{path}: a tag without an ALT: {line[:200]}")
                tags.append(values)
            if alts == ["."]:
                tags[-1] = ["NOALT"]
            rows += [fields[:4] + [alt] + [t[i] for t in tags] for i, alt in enumerate(alts)]
    return names, rows


def show(rows, names=HEADER):
    print("\t".join(names))
    for row in rows:
        print("\t".join(row))


def near(a, b, tolerance):
    names_a, rows_a = rows_of(a)
    names_b, rows_b = rows_of(b)
    if len(rows_a) != len(rows_b):
        sys.exit(f"{len(rows_a)} and {len(rows_b)} lines")
    if not rows_a:
        sys.exit("nothing to compare")
    worst, scored = (0.0, ""), 0
    for x, y in zip(rows_a, rows_b):
        x, y = dict(zip(names_a, x)), dict(zip(names_b, y))
        where = " ".join(x[n] for n in HEADER[:3]) + f" {x['REF'][:20]} {x['ALT'][:20]}"
        for name in names_a:
            u, v = x[name], y.get(name, ".")
            if name not in ("LLR", "LLR_FWD", "LLR_REV", "DIST") or "." in (u, v):
                if u != v:
                    sys.exit(f"{where}: {name} {u[:60]} and {v[:60]}")
                continue
            u, v = float(u), float(v)
            # half of the sixth digit is lost in print
            printed = max((0.5 * 10 ** (math.floor(math.log10(abs(w))) - 5) for w in (u, v) if w),
                          default=0)
            excess = abs(u - v) - printed
            scored += name == "LLR"
            if not excess <= worst[0]:
                worst = (excess, f"{where}: {name} {u} and {v}")
    print(f"{scored} scores, largest difference {worst[0]:.3g}: {worst[1]}")
    if not scored:
        sys.exit("no score among them")
    sys.exit(not worst[0] <= tolerance)


def fasta(path):
    bases = {}
    for line in lines_of(path):
        if line.startswith(">"):
            name = line[1:].split()[0]
            bases[name] = []
        else:
            bases[name].append(line)
    return {name: "".join(parts) for name, parts in bases.items()}


COMPLEMENT = str.maketrans("ACGTacgt", "TGCAtgca")


def reverse(reference, source, target):
    lengths = {name: len(bases) for name, bases in fasta(reference).items()}
    header, records = [], []
    for line in lines_of(source):
        fields = line.split("\t")
        if line.startswith("#"):
            header.append(line)
            continue
        if set(fields[3] + fields[4]) - set("ACGTacgt,") or fields[0] not in lengths:
            continue
        if int(fields[1]) + len(fields[3]) - 1 > lengths[fields[0]]:
            continue
        fields[1] = str(lengths[fields[0]] - int(fields[1]) - len(fields[3]) + 2)
        fields[3] = fields[3].translate(COMPLEMENT)[::-1]
        fields[4] = ",".join(a.translate(COMPLEMENT)[::-1] for a in fields[4].split(","))
        records.append("\t".join(fields))
    with open(target, "w") as out:
        out.write("\n".join(header + records) + "\n")


def exchange():
    names, rows = rows_of("-")
    i, j = names.index("LLR_FWD"), names.index("LLR_REV")
    for row in rows:
        row[i], row[j] = row[j], row[i]
    show(rows, names)


def snvs(reference, region):
    name, _, span = region.rpartition(":")
    first, last = map(int, span.split("-"))
    bases = fasta(reference)[name].upper()
    print(f"##fileformat=VCFv4.2\n##contig=<ID={name},length={len(bases)}>\n"
          "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    for position in range(first, last + 1):
        ref = bases[position - 1]
        if ref in "ACGT":
            for alt in "ACGT".replace(ref, ""):
                print(f"{name}\t{position}\t.\t{ref}\t{alt}\t.\t.\t.")


def npy(path, table, first):
    import ast
    import struct
    raw = open(path, "rb").read()
    assert raw[:8] == b"\x93NUMPY\x01\x00", "not npy 1.0"
    size = struct.unpack("<H", raw[8:10])[0]
    header = ast.literal_eval(raw[10:10 + size].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    rows, length = header["shape"]
    assert rows == 4, header
    values = struct.unpack(f"<{rows * length}f", raw[10 + size:])
    names, lines = rows_of(table)
    met = {}
    for line in lines:
        line = dict(zip(names, line))
        i = int(line["POS"]) - int(first)
        value = values["ACGT".index(line["ALT"]) * length + i]
        text = f"{value:.6g}" if not math.isnan(value) else "."
        assert text == line["LLR"] or float(text) == float(line["LLR"]), (line, text)
        met.setdefault(i, line["REF"])
    for i in range(length):
        ref = met.get(i)
        column = [values[row * length + i] for row in range(4)]
        if ref is None:
            assert all(map(math.isnan, column)), (i, column)
        else:
            assert column["ACGT".index(ref)] == 0, (i, column)
    print(f"{len(lines)} values, {length} positions")


def groups():
    names, rows = rows_of("-")
    first, several = {}, 0
    for row in rows:
        name, _, spelling = row[2].partition(".")
        if not spelling:
            continue
        if name in first:
            several += 1
            if first[name] != row[5:]:
                sys.exit(f"{row[2]}: {row[5:]} and {first[name]}")
        first.setdefault(name, row[5:])
    if not several:
        sys.exit("no two spellings")


if __name__ == "__main__":
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "table":
        names, rows = rows_of(*arguments)
        show(rows, names)
    elif what == "near":
        near(arguments[0], arguments[1], float(arguments[2]))
    else:
        {"reverse": reverse, "exchange": exchange, "snvs": snvs, "npy": npy, "groups": groups}[what](
            *arguments)
