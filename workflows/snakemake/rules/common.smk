# What the other files have in common: runs of the configuration, options, memory.

import json
import os
import shlex

SUFFIXES = {"score": "vcf.gz", "vectors": "npy", "tracks": "bedgraph.gz", "classify": "bed.gz"}


scattergather:
    score=config["shards"].get("score", 4),
    vectors=config["shards"].get("vectors", 4),
    tracks=config["shards"].get("tracks", 4),
    classify=config["shards"].get("classify", 4),


wildcard_constraints:
    kind="|".join(SUFFIXES),
    run="[A-Za-z0-9][A-Za-z0-9_.-]*",
    format="vcf\.gz|bcf",
    scatteritem="[0-9]+-of-[0-9]+",


# Every job reads this file again, on its own node, so that all of them have the variable.
if isinstance(config["date"], int):
    os.environ.update(SOURCE_DATE_EPOCH=str(config["date"]))


def crocuta(step):
    """The wrapper of a step, which lies beside this workflow"""
    return f"file:{workflow.basedir}/wrappers/{step}"


def of_run(kind, key, default=""):
    """A function of wildcards: what the configuration says of a run"""
    return lambda wildcards: config[kind][wildcards.run].get(key, default)


def inputs(kind):
    """A function of wildcards: input files of a run, and its plan if memory is asked for"""

    def files(wildcards):
        run = config[kind][wildcards.run]
        if kind == "score":
            named = {"calls": run["calls"], "ref": run["ref"]}
        else:
            named = {"fasta": run["fasta"]}
        if "regions_file" in run:
            named["regions"] = run["regions_file"]
        if config["mem_mb"] == "plan":
            named["plan"] = f"results/plans/{kind}/{wildcards.run}.json"
        return named

    return files


def plan_inputs(wildcards):
    """The same without the plan"""
    named = inputs(wildcards.kind)(wildcards)
    named.pop("plan", None)
    return named


def options(kind):
    """A function of wildcards: options of a run that the wrappers have no parameter for"""

    def text(wildcards):
        run = config[kind][wildcards.run]
        words = ["--device", config["device"]]
        if config["isa"]:
            words += ["--isa", config["isa"]]
        if config["date"] == "none":
            words.append("--no-version")
        if kind == "tracks":
            words += ["--track", run.get("track", "logprob")]
        if kind == "classify":
            words.append("--scan")
        return " ".join(words + [run.get("extra", "")]).strip()

    return text


def concat_options(wildcards):
    return "--no-version" if config["date"] == "none" else ""


def shard(wildcards):
    """1-of-4, as Snakemake has it, for crocuta: 1/4"""
    return wildcards.scatteritem.replace("-of-", "/")


def memory(wildcards, input, attempt):
    """Megabytes of a shard: the plan's and an eighth, and 300 for what it leaves out: libraries, Snakemake's own processes"""
    if config["mem_mb"] != "plan":
        return config["mem_mb"] * attempt
    with open(input.plan) as file:
        planned = json.load(file)["memory_bytes"]
    return (planned * 9 // 8 // 10**6 + 300) * attempt


def plan_command(wildcards):
    """The command line that asks what a run takes"""
    kind = wildcards.kind
    run = config[kind][wildcards.run]
    flags = {
        "model": "--model",
        "head": "--head",
        "regions": "--regions",
        "regions_file": "--regions-file",
        "targets": "--targets",
    }
    words = [{"vectors": "embed", "tracks": "embed"}.get(kind, kind), "--dry-run", "--json"]
    words += ["--fasta-ref", run["ref" if kind == "score" else "fasta"]]
    for key, flag in flags.items():
        if key in run:
            words += [flag, run[key]]
    words += ["--output", f"{wildcards.run}.{run.get('format') or SUFFIXES[kind]}"]
    if kind == "score":
        words.append(run["calls"])
    return shlex.join(words) + " " + options(kind)(wildcards)


def shard_stats():
    """The --stats files of all shards of all runs"""
    files = []
    for kind in SUFFIXES:
        gathered = getattr(gather, kind)(f"results/stats/{kind}/{{{{run}}}}/{{scatteritem}}.json")
        files += expand(gathered, run=config[kind])
    return files


def wanted():
    """Every file of every run"""
    files = []
    for kind in SUFFIXES:
        for name, run in config[kind].items():
            files.append(f"results/{kind}/{name}.{run.get('format') or SUFFIXES[kind]}")
    return files + ["results/multiqc"] * bool(files)
