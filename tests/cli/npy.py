#!/usr/bin/env python3
"""npy.py - read NumPy files with the standard library alone, for the tests.

    npy.py shape FILE                rows columns dtype
    npy.py rows FILE FROM TO         rows as text
    npy.py compare A B TOLERANCE     largest |difference|; status 1 above the tolerance
    npy.py slice A FROM TO B         do rows FROM..TO of A equal B, byte for byte?
    npy.py near A FROM TO B TOL      do they equal B within a tolerance?
    npy.py mean A BIN B TOLERANCE    are the rows of B the means of BIN rows of A?
    npy.py finite FILE               status 1 when a value is NaN or infinite
    npy.py columns A FROM TO B TOL   do columns FROM..TO of A equal B?
    npy.py mirrored A B              are the rows of B those of A in reverse order?
    npy.py average A B C TOL         is C the mean of A and B?
"""
import array
import ast
import math
import struct
import sys


def load(path):
    """(rows, columns, list of row tuples)"""
    with open(path, "rb") as stream:
        if stream.read(8) != b"\x93NUMPY\x01\x00":
            sys.exit(f"{path}: not npy 1.0")
        (size,) = struct.unpack("<H", stream.read(2))
        header = ast.literal_eval(stream.read(size).decode())
        raw = stream.read()
    if header["fortran_order"]:
        sys.exit(f"{path}: fortran order")
    shape, dtype = header["shape"], header["descr"]
    rows, columns = shape if len(shape) == 2 else (1, shape[0])
    if (size + 10) % 64:
        sys.exit(f"{path}: data not aligned")
    if dtype == "<f4":
        values = array.array("f", raw)
    elif dtype == "<f2":
        values = [v[0] for v in struct.iter_unpack("<e", raw)]
    else:
        sys.exit(f"{path}: dtype {dtype}")
    if len(values) != rows * columns:
        sys.exit(f"{path}: {len(values)} values for {shape}")
    return rows, columns, dtype, values


def row_list(path):
    rows, columns, _, values = load(path)
    return [tuple(values[i * columns:(i + 1) * columns]) for i in range(rows)]


def largest_difference(a, b):
    if len(a) != len(b) or (a and len(a[0]) != len(b[0])):
        sys.exit(f"shapes differ: {len(a)} and {len(b)} rows")
    return max((abs(x - y) for r, s in zip(a, b) for x, y in zip(r, s)), default=0.0)


def report(difference, tolerance):
    print(f"{difference:.3g}")
    sys.exit(0 if difference <= float(tolerance) else 1)


def main(verb, *rest):
    if verb == "shape":
        rows, columns, dtype, _ = load(rest[0])
        print(rows, columns, dtype)
    elif verb == "rows":
        for row in row_list(rest[0])[int(rest[1]):int(rest[2])]:
            print(*(f"{v:.9g}" for v in row))
    elif verb == "compare":
        report(largest_difference(row_list(rest[0]), row_list(rest[1])), rest[2])
    elif verb == "slice":
        sys.exit(0 if row_list(rest[0])[int(rest[1]):int(rest[2])] == row_list(rest[3]) else 1)
    elif verb == "near":
        report(largest_difference(row_list(rest[0])[int(rest[1]):int(rest[2])],
                                  row_list(rest[3])), rest[4])
    elif verb == "mean":
        fine, size = row_list(rest[0]), int(rest[1])
        bins = [fine[i:i + size] for i in range(0, len(fine), size)]
        means = [tuple(math.fsum(c) / len(c) for c in zip(*rows)) for rows in bins]
        report(largest_difference(means, row_list(rest[2])), rest[3])
    elif verb == "finite":
        sys.exit(0 if all(map(math.isfinite, load(rest[0])[3])) else 1)
    elif verb == "columns":
        part = [r[int(rest[1]):int(rest[2])] for r in row_list(rest[0])]
        report(largest_difference(part, row_list(rest[3])), rest[4])
    elif verb == "mirrored":
        sys.exit(0 if row_list(rest[0])[::-1] == row_list(rest[1]) else 1)
    elif verb == "average":
        means = [tuple((x + y) / 2 for x, y in zip(r, s))
                 for r, s in zip(row_list(rest[0]), row_list(rest[1]))]
        report(largest_difference(means, row_list(rest[2])), rest[3])
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
