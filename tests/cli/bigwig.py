#!/usr/bin/env python3
"""bigwig.py - print every base of a bigWig as `chrom start value` lines, standard library alone.

    bigwig.py FILE.bw
    bigwig.py --expand FILE     the same of a bedGraph (FILE may be -)

Reads the chromosome tree and the data blocks through the full-data index, as in the format's paper
(Kent and others, Bioinformatics 26:2204, supplement).
"""
import struct
import sys
import zlib


def chromosomes(data, at):
    magic, _, key, _, _, _ = struct.unpack_from("<IIIIQQ", data, at)
    assert magic == 0x78CA8C91
    names = {}

    def walk(node):
        leaf, _, count = struct.unpack_from("<BBH", data, node)
        for i in range(count):
            entry = node + 4 + i * (key + 8)
            if leaf:
                name = data[entry:entry + key].rstrip(b"\0").decode()
                number, length = struct.unpack_from("<II", data, entry + key)
                names[number] = (name, length)
            else:
                walk(struct.unpack_from("<Q", data, entry + key)[0])

    walk(at + 32)
    return names


def blocks(data, at):
    (magic,) = struct.unpack_from("<I", data, at)
    assert magic == 0x2468ACE0

    def walk(node):
        leaf, _, count = struct.unpack_from("<BBH", data, node)
        for i in range(count):
            if leaf:
                yield struct.unpack_from("<IIIIQQ", data, node + 4 + 32 * i)[4:]
            else:
                yield from walk(struct.unpack_from("<IIIIQ", data, node + 4 + 24 * i)[4])

    yield from walk(at + 48)


def intervals(data):
    (magic, _, _, tree, _, index) = struct.unpack_from("<IHHQQQ", data, 0)
    assert magic == 0x888FFC26
    (buffer,) = struct.unpack_from("<I", data, 52)
    names = chromosomes(data, tree)
    for offset, size in blocks(data, index):
        raw = data[offset:offset + size]
        raw = zlib.decompress(raw) if buffer else raw
        number, start, _, step, span, kind, _, count = struct.unpack_from("<IIIIIBBH", raw)
        for i in range(count):
            if kind == 1:
                begin, end, value = struct.unpack_from("<IIf", raw, 24 + 12 * i)
            elif kind == 2:
                begin, value = struct.unpack_from("<If", raw, 24 + 8 * i)
                end = begin + span
            else:
                (value,) = struct.unpack_from("<f", raw, 24 + 4 * i)
                begin = start + i * step
                end = begin + span
            yield names[number][0], begin, end, value


def main(*arguments):
    if arguments[0] == "--expand":
        stream = sys.stdin if arguments[1] == "-" else open(arguments[1])
        rows = (line.split() for line in stream if line[0] != "#")
        source = ((r[0], int(r[1]), int(r[2]), float(r[3])) for r in rows)
    else:
        source = intervals(open(arguments[0], "rb").read())
    for name, begin, end, value in source:
        for position in range(begin, end):
            print(name, position, f"{value:.7g}", sep="\t")


main(*sys.argv[1:])
