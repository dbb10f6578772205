__author__ = "crocuta developers"
__copyright__ = "Copyright 2026, crocuta developers"
__license__ = "MIT"

import shlex
import shutil

from snakemake.shell import shell

given, params, made = snakemake.input, snakemake.params, snakemake.output
extra = params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

parts = given.get("parts", given)
parts = shlex.join([parts] if isinstance(parts, str) else parts)
out = shlex.quote(made[0])

index = made.get("idx")
kind = "tbi" if index and index.endswith(".tbi") else "csi"
write_index = f"--write-index={kind}" if index else ""

shell("crocuta concat --output {out} {write_index} {extra} {parts} {log}")

# crocuta names the files beside the output after it; a rule may want other names.
stem = made[0].removesuffix(".npy")
beside = {
    f"{made[0]}.{kind}": index,
    f"{stem}.rows.bed.gz": made.get("rows"),
    f"{stem}.meta.json": made.get("meta"),
}
for path, wanted in beside.items():
    if wanted and wanted != path:
        shutil.move(path, wanted)
