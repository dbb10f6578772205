# Classes: shards of the windows that slide over contigs or regions are classified, then put together in order.


rule classify_shard:
    input:
        unpack(inputs("classify")),
    output:
        temp("results/shards/classify/{run}/{scatteritem}.bed.gz"),
        stats="results/stats/classify/{run}/{scatteritem}.json",
    log:
        "logs/classify/{run}/{scatteritem}.log",
    benchmark:
        "benchmarks/classify/{run}/{scatteritem}.tsv"
    threads: config["threads"]
    retries: config["retries"]
    resources:
        mem_mb=memory,
    params:
        model=of_run("classify", "model"),
        head=of_run("classify", "head"),
        regions=of_run("classify", "regions"),
        shard=shard,
        state_dir=config["state_dir"],
        max_time=config["max_time"],
        extra=options("classify"),
    wrapper:
        crocuta("classify")


rule classify:
    input:
        gather.classify("results/shards/classify/{{run}}/{scatteritem}.bed.gz"),
    output:
        "results/classify/{run}.bed.gz",
    log:
        "logs/classify/{run}.log",
    benchmark:
        "benchmarks/classify/{run}.tsv"
    resources:
        mem_mb=1000,
    params:
        extra=concat_options,
    wrapper:
        crocuta("concat")
