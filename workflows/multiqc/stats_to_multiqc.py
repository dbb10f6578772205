#!/usr/bin/env python3
"""Turns files of `crocuta ... --stats FILE` into MultiQC custom content.

stats_to_multiqc.py [--output-dir DIR] [--each-shard] STATS...

Writes into DIR, as far as there is something to say:
  crocuta_runs_mqc.json              a table: a row a run
  crocuta_score_alleles_mqc.json     bars: alleles of `score` by status
  crocuta_sequence_classes_mqc.json  bars: rows of `classify` by class
MultiQC finds them by their names. A run is called what its file is called, without `.stats.json`. The
shards of a run (`NAME.KofN.stats.json`) make one row unless --each-shard is given: counts and CPU time
are added, of wall time and memory the largest counts.
Status 2: what was asked for is not clear. 3: a file is no file of --stats. Needs Python 3.6 alone.
"""

import argparse
import json
import os
import re
import sys

FORMAT = "crocuta-stats-1"
PARENT = {
    "parent_id": "crocuta",
    "parent_name": "crocuta",
    "parent_description": "Nucleotide language models over genomes: what the runs did, from their <code>--stats</code>.",
}

# column: title, description, more for MultiQC
COLUMNS = {
    "command": ("Command", "Command of crocuta", {}),
    "model": ("Model", "Name of the model", {}),
    "shards": ("Shards", "Shards found, of all shards of the run", {}),
    "status": ("Status", "Exit status, the largest of the shards; 0 is success, 75 stopped by --max-time", {"format": "{:d}"}),
    "resumed": ("Resumed", "Shards that continued from a journal", {"format": "{:d}", "hidden": True}),
    "bases": ("Bases", "Bases of the input", {"format": "{:,d}", "scale": "Blues"}),
    "n_share": ("Share N", "Share of the bases that is N, in percent", {"suffix": "%", "format": "{:,.2f}", "max": 100, "min": 0}),
    "windows": ("Windows", "Windows computed", {"format": "{:,d}", "hidden": True}),
    "tokens": ("Tokens", "Tokens computed, overlaps included", {"format": "{:,d}", "hidden": True}),
    "rows": ("Rows", "Rows written by embed or classify", {"format": "{:,d}", "scale": "Greens"}),
    "records": ("Records", "Records read by score", {"format": "{:,d}", "scale": "Greens"}),
    "alleles": ("Alleles", "ALT alleles seen by score", {"format": "{:,d}", "scale": "Greens"}),
    "scored": ("Scored", "Share of the alleles that got a score, in percent", {"suffix": "%", "format": "{:,.1f}", "max": 100, "min": 0, "scale": "RdYlGn"}),
    "wall": ("Wall", "Wall time in seconds, of the slowest shard", {"suffix": " s", "format": "{:,.1f}", "scale": "Oranges"}),
    "cpu": ("CPU", "CPU time in seconds, of all shards", {"suffix": " s", "format": "{:,.1f}", "scale": "Oranges"}),
    "speed": ("Bases/s", "Bases a second of wall time of one shard", {"format": "{:,.0f}", "scale": "Purples"}),
    "allele_speed": ("Alleles/s", "Alleles a second of wall time of one shard", {"format": "{:,.0f}", "scale": "Purples"}),
    "memory": ("Memory", "Peak memory in MB, of the largest shard", {"suffix": " MB", "format": "{:,.1f}", "scale": "Reds"}),
    "device_memory": ("Device memory", "Peak memory of the GPU in MB, of the largest shard", {"suffix": " MB", "format": "{:,.1f}", "scale": "Reds"}),
    "device": ("Device", "Where it was computed", {}),
    "dtype": ("Arithmetic", "Type of the numbers", {"hidden": True}),
    "threads": ("Threads", "Threads of one shard", {"format": "{:d}", "hidden": True}),
}
SUMS = ("bases", "n_bases", "windows", "tokens", "rows", "records", "records_out", "alleles")
COUNTS = ("alleles_by_status", "rows_by_class")


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            stats = json.load(file)
    except (OSError, ValueError) as error:
        raise Refused(3, "{}: {}".format(path, error)) from None
    if not isinstance(stats, dict) or stats.get("format") != FORMAT:
        raise Refused(3, "{}: its format is not {}".format(path, FORMAT))
    return stats


def name_of(path):
    name = os.path.basename(path)
    for suffix in (".stats.json", ".json"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name


def without_shard(name, shard):
    """scored.3of8 -> scored, when the run says that it was shard 3/8"""
    return re.sub(r"[._-]?{}of{}$".format(*shard.split("/")), "", name)


def runs_of(paths, each_shard):
    """Name of a run -> its stats, one for each shard"""
    runs, seen = {}, set()
    for path in paths:
        stats = read(path)
        name, shard = name_of(path), stats.get("shard")
        if shard and not each_shard:
            name = without_shard(name, shard)
        key = (name, shard)
        if key in seen:
            raise Refused(2, "{}: another file is called the same; rename one".format(path))
        seen.add(key)
        runs.setdefault(name, []).append(stats)
    for name, parts in runs.items():
        for key in ("command", "model_sha256"):
            if len({part.get(key) for part in parts}) > 1:
                raise Refused(2, "{}: its files are of runs that differ in {}".format(name, key))
        if len(parts) > 1 and len({(part.get("shard") or "/").split("/")[1] for part in parts}) > 1:
            raise Refused(2, "{}: its files are shards of different numbers".format(name))
    return runs


def known(values):
    return [value for value in values if value is not None]


def total(parts, key):
    values = known(part.get(key) for part in parts)
    return sum(values) if values else None


def largest(values):
    values = known(values)
    return max(values) if values else None


def counts(parts, key):
    found = {}
    for part in parts:
        for name, number in (part.get(key) or {}).items():
            found[name] = found.get(name, 0) + number
    return found


def row(parts, each_shard):
    first = parts[0]
    sums = {key: total(parts, key) for key in SUMS}
    seconds = [part.get("seconds") or {} for part in parts]
    cells = {key: sums[key] for key in ("bases", "windows", "tokens", "rows", "records", "alleles")}
    if first.get("command") != "score" and not cells["records"]:
        cells["records"] = None  # embed and classify count records of reads alone
    cells["command"] = first.get("command")
    cells["model"] = first.get("model") and os.path.basename(first["model"].rstrip("/"))
    cells["device"] = ", ".join(sorted({part["device"] for part in parts if part.get("device")})) or None
    cells["dtype"] = first.get("dtype")
    cells["threads"] = largest(part.get("threads") for part in parts)
    if first.get("shard"):
        of = first["shard"].split("/")[1]
        cells["shards"] = first["shard"] if each_shard else "{} of {}".format(len(parts), of)
    cells["status"] = largest(part.get("status") for part in parts)
    cells["resumed"] = sum(1 for part in parts if part.get("resumed"))
    if sums["bases"] and sums["n_bases"] is not None:
        cells["n_share"] = 100 * sums["n_bases"] / sums["bases"]
    by_status = counts(parts, "alleles_by_status")
    if sum(by_status.values()):
        scored = sum(number for status, number in by_status.items() if status.split("&")[0] == "OK")
        cells["scored"] = 100 * scored / sum(by_status.values())
    cells["wall"] = largest(part.get("wall") for part in seconds)
    cells["cpu"] = total(seconds, "cpu")
    wall = total(seconds, "wall")
    for cell, key in (("speed", "bases"), ("allele_speed", "alleles")):
        if sums[key] and wall:
            cells[cell] = sums[key] / wall
    for cell, key in (("memory", "peak_memory_bytes"), ("device_memory", "device_memory_bytes")):
        peak = largest(part.get(key) for part in parts)
        cells[cell] = peak / 1e6 if peak else None
    return {key: value for key, value in cells.items() if value is not None}


def content(name, title, description, kind, data, **more):
    return {
        "id": name,
        **PARENT,
        "section_name": title,
        "description": description,
        "plot_type": kind,
        "pconfig": {"id": name + "_plot", "title": "crocuta: " + title, **more.pop("pconfig", {})},
        **more,
        "data": data,
    }


def contents(runs, each_shard):
    rows = {name: row(parts, each_shard) for name, parts in runs.items()}
    shown = [key for key in COLUMNS if any(key in cells for cells in rows.values())]
    headers = {}
    for key in shown:
        title, description, more = COLUMNS[key]
        headers[key] = {"title": title, "description": description, **more}
        if "format" not in more:
            headers[key]["scale"] = False
    found = {
        "crocuta_runs": content(
            "crocuta_runs", "Runs", "What was computed, and what it took.", "table", rows, headers=headers
        )
    }
    bars = (
        ("crocuta_score_alleles", "alleles_by_status", "Alleles", "ALT alleles of <code>score</code> by their status."),
        ("crocuta_sequence_classes", "rows_by_class", "Classes", "Rows of <code>classify</code> by their predicted class."),
    )
    for name, key, title, description in bars:
        data = {run: counts(parts, key) for run, parts in runs.items()}
        data = {run: numbers for run, numbers in data.items() if numbers}
        if data:
            found[name] = content(
                name, title, description, "bargraph", data, pconfig={"ylab": title.lower()}
            )
    return found


def main():
    parser = argparse.ArgumentParser(description="MultiQC custom content from files of crocuta --stats")
    parser.add_argument("--output-dir", metavar="DIR", default=".", help="where the *_mqc.json go [.]")
    parser.add_argument("--each-shard", action="store_true", help="a row a shard, not a run")
    parser.add_argument("stats", metavar="STATS", nargs="+", help="files of --stats")
    arguments = parser.parse_args()
    try:
        runs = runs_of(sorted(arguments.stats), arguments.each_shard)
        os.makedirs(arguments.output_dir, exist_ok=True)
        for name, what in contents(runs, arguments.each_shard).items():
            path = os.path.join(arguments.output_dir, name + "_mqc.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(what, file, indent=1)
                file.write("\n")
    except Refused as refused:
        print("stats_to_multiqc.py: {}".format(refused), file=sys.stderr)
        return refused.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
