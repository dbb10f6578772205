# What a run takes, asked of crocuta before shards of it are submitted.


rule plan:
    input:
        unpack(plan_inputs),
    output:
        "results/plans/{kind}/{run}.json",
    log:
        "logs/plans/{kind}/{run}.log",
    benchmark:
        "benchmarks/plans/{kind}/{run}.tsv"
    threads: config["threads"]
    resources:
        mem_mb=1000,
    params:
        command=plan_command,
    conda:
        "../wrappers/score/environment.yaml"
    shell:
        "crocuta {params.command} --threads {threads} > {output} 2> {log}"
