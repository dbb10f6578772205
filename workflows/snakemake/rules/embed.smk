# Vectors and tracks: shards of contigs or regions are embedded, then put together in order.


rule vectors_shard:
    input:
        unpack(inputs("vectors")),
    output:
        temp("results/shards/vectors/{run}/{scatteritem}.npy"),
        rows=temp("results/shards/vectors/{run}/{scatteritem}.rows.bed.gz"),
        meta=temp("results/shards/vectors/{run}/{scatteritem}.meta.json"),
        stats="results/stats/vectors/{run}/{scatteritem}.json",
    log:
        "logs/vectors/{run}/{scatteritem}.log",
    benchmark:
        "benchmarks/vectors/{run}/{scatteritem}.tsv"
    threads: config["threads"]
    retries: config["retries"]
    resources:
        mem_mb=memory,
    params:
        model=of_run("vectors", "model"),
        regions=of_run("vectors", "regions"),
        shard=shard,
        state_dir=config["state_dir"],
        max_time=config["max_time"],
        extra=options("vectors"),
    wrapper:
        crocuta("embed")


rule vectors:
    input:
        parts=gather.vectors("results/shards/vectors/{{run}}/{scatteritem}.npy"),
        rows=gather.vectors("results/shards/vectors/{{run}}/{scatteritem}.rows.bed.gz"),
        meta=gather.vectors("results/shards/vectors/{{run}}/{scatteritem}.meta.json"),
    output:
        "results/vectors/{run}.npy",
        rows="results/vectors/{run}.rows.bed.gz",
        meta="results/vectors/{run}.meta.json",
    log:
        "logs/vectors/{run}.log",
    benchmark:
        "benchmarks/vectors/{run}.tsv"
    resources:
        mem_mb=1000,
    params:
        extra=concat_options,
    wrapper:
        crocuta("concat")


rule tracks_shard:
    input:
        unpack(inputs("tracks")),
    output:
        temp("results/shards/tracks/{run}/{scatteritem}.bedgraph.gz"),
        stats="results/stats/tracks/{run}/{scatteritem}.json",
    log:
        "logs/tracks/{run}/{scatteritem}.log",
    benchmark:
        "benchmarks/tracks/{run}/{scatteritem}.tsv"
    threads: config["threads"]
    retries: config["retries"]
    resources:
        mem_mb=memory,
    params:
        model=of_run("tracks", "model"),
        regions=of_run("tracks", "regions"),
        shard=shard,
        state_dir=config["state_dir"],
        max_time=config["max_time"],
        extra=options("tracks"),
    wrapper:
        crocuta("embed")


rule tracks:
    input:
        gather.tracks("results/shards/tracks/{{run}}/{scatteritem}.bedgraph.gz"),
    output:
        "results/tracks/{run}.bedgraph.gz",
    log:
        "logs/tracks/{run}.log",
    benchmark:
        "benchmarks/tracks/{run}.tsv"
    resources:
        mem_mb=1000,
    params:
        extra=concat_options,
    wrapper:
        crocuta("concat")
