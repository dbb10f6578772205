__author__ = "crocuta developers"
__copyright__ = "Copyright 2026, crocuta developers"
__license__ = "MIT"

import os
import shlex
import shutil

from snakemake.shell import shell

given, params, made = snakemake.input, snakemake.params, snakemake.output
extra = params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

# with --ism there are no variants to read
calls = shlex.quote(given.calls) if not params.get("ism") else ""


def path_of(name):
    """A directory of the input, else what params say: a directory or a name"""
    path = given.get(name)
    return os.path.join(".", path) if path else params.get(name)


# Values that are not given leave their option out.
options = {
    "--fasta-ref": given.ref,
    "--fai-idx": given.get("fai"),
    "--gzi-idx": given.get("gzi"),
    "--regions-file": given.get("regions"),
    "--targets-file": given.get("targets"),
    "--rename-chrs": given.get("rename_chrs"),
    "--model": path_of("model"),
    "--regions": params.get("regions"),
    "--targets": params.get("targets"),
    "--ism": params.get("ism"),
    "--shard": params.get("shard"),
    "--state-dir": params.get("state_dir"),
    "--max-time": params.get("max_time"),
    "--stats": made.get("stats") or params.get("stats"),
    "--threads": snakemake.threads,
    "--output": made[0],
}

# A plan that needs more memory than the job has is refused before it starts.
mem_mb = snakemake.resources.get("mem_mb")
if isinstance(mem_mb, int) and mem_mb > 0:
    options["--max-mem"] = f"{mem_mb}M"

command = shlex.join(
    word for name, value in options.items() if value for word in (name, str(value))
)
index = made.get("idx")
kind = "tbi" if index and index.endswith(".tbi") else "csi"
if index:
    command += f" --write-index={kind}"

shell("crocuta score {command} {extra} {calls} {log}")

# crocuta names the files beside the output after it; a rule may want other names.
beside = {f"{made[0]}.{kind}": index, made[0].removesuffix(".npy") + ".meta.json": made.get("meta")}
for path, wanted in beside.items():
    if wanted and wanted != path:
        shutil.move(path, wanted)
