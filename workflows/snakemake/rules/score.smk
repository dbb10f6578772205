# Variants: shards of a VCF are scored, then put together in order.


rule score_shard:
    input:
        unpack(inputs("score")),
    output:
        temp("results/shards/score/{run}/{scatteritem}.bcf"),
        stats="results/stats/score/{run}/{scatteritem}.json",
    log:
        "logs/score/{run}/{scatteritem}.log",
    benchmark:
        "benchmarks/score/{run}/{scatteritem}.tsv"
    threads: config["threads"]
    retries: config["retries"]
    resources:
        mem_mb=memory,
    params:
        model=of_run("score", "model"),
        regions=of_run("score", "regions"),
        targets=of_run("score", "targets"),
        shard=shard,
        state_dir=config["state_dir"],
        max_time=config["max_time"],
        extra=options("score"),
    wrapper:
        crocuta("score")


rule score:
    input:
        gather.score("results/shards/score/{{run}}/{scatteritem}.bcf"),
    output:
        "results/score/{run}.{format}",
        idx="results/score/{run}.{format}.csi",
    log:
        "logs/score/{run}.{format}.log",
    benchmark:
        "benchmarks/score/{run}.{format}.tsv"
    resources:
        mem_mb=1000,
    params:
        extra=concat_options,
    wrapper:
        crocuta("concat")
