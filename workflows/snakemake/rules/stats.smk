# What all runs took and did, as tables for MultiQC. Shards of a run are one row.


rule stats:
    input:
        shard_stats(),
    output:
        directory("results/multiqc"),
    log:
        "logs/multiqc.log",
    benchmark:
        "benchmarks/multiqc.tsv"
    resources:
        mem_mb=500,
    params:
        script=f"{workflow.basedir}/../multiqc/stats_to_multiqc.py",
    conda:
        "../envs/python.yaml"
    shell:
        """
        exec 2> {log}
        names=$(mktemp -d)
        trap 'rm -r "$names"' EXIT
        # score/panel/1-of-4.json gets the name that the script knows, score.panel.1of4.json
        for file in {input}; do
            name=${{file#results/stats/}}
            ln -s "$PWD/$file" "$names/$(echo "$name" | sed 's|/|.|g; s|-of-\\([0-9]*[.]json\\)$|of\\1|')"
        done
        python3 {params.script:q} --output-dir {output} "$names"/*
        """
