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


def path_of(name):
    """A directory of the input, else what params say: a directory or a name"""
    path = given.get(name)
    return os.path.join(".", path) if path else params.get(name)


# Values that are not given leave their option out.
options = {
    "--fasta-ref": given[0],
    "--fai-idx": given.get("fai"),
    "--gzi-idx": given.get("gzi"),
    "--reference": given.get("reference"),
    "--regions-file": given.get("regions"),
    "--model": path_of("model"),
    "--regions": params.get("regions"),
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

# where the index of a CRAM's reference is made
if snakemake.resources.get("tmpdir"):
    os.environ["TMPDIR"] = str(snakemake.resources.tmpdir)
shell("crocuta embed {command} {extra} {log}")

# crocuta names the files beside the output after it; a rule may want other names.
stem = made[0].removesuffix(".npy")
beside = {f"{stem}.rows.bed.gz": made.get("rows"), f"{stem}.meta.json": made.get("meta")}
for path, wanted in beside.items():
    if wanted and wanted != path:
        shutil.move(path, wanted)
