#!/usr/bin/env nextflow

/*
 * Scores a VCF, embeds a sequence and classifies it, each in shards, and puts the shards together
 * again. The results have the bytes of runs without shards (with --no-version in the options).
 */

include { CROCUTA_SCORE    } from './modules/crocuta/score/main'
include { CROCUTA_EMBED    } from './modules/crocuta/embed/main'
include { CROCUTA_CLASSIFY } from './modules/crocuta/classify/main'
include { CROCUTA_CONCAT   } from './modules/crocuta/concat/main'
include { STATS_TABLES     } from './modules/local/stats_tables/main'
include { MULTIQC          } from './modules/local/multiqc/main'

workflow CROCUTA {
    take:
    to_score    // channel: [ meta, vcf, index, regions ]
    to_embed    // channel: [ meta, sequences, indices, regions ]
    to_classify // channel: [ meta, sequences, indices, regions ]
    reference   // [ meta, fasta, indices ]
    model       // [ meta, model ]
    head        // [ meta, model, head ]
    shards      // how many parts

    main:
    // scatter: every input with every number of a shard. The name tells the commands apart.
    numbers = channel.of(1..shards)

    CROCUTA_SCORE(
        to_score.combine(numbers).map { meta, vcf, index, regions, k ->
            [meta + [id: "${meta.id}.score", shard: k], vcf, index, regions, "${k}/${shards}"]
        },
        reference,
        model
    )
    CROCUTA_EMBED(
        to_embed.combine(numbers).map { meta, sequences, index, regions, k ->
            [meta + [id: "${meta.id}.embed", shard: k], sequences, index, regions, "${k}/${shards}"]
        },
        model
    )
    CROCUTA_CLASSIFY(
        to_classify.combine(numbers).map { meta, sequences, index, regions, k ->
            [meta + [id: "${meta.id}.classify", shard: k], sequences, index, regions, "${k}/${shards}"]
        },
        head
    )

    // gather: shards finish in any order, concat wants them in theirs
    parts = CROCUTA_SCORE.out.scores.map { meta, part -> [meta, part, []] }
        .mix(CROCUTA_CLASSIFY.out.classes.map { meta, part -> [meta, part, []] })
        .mix(CROCUTA_EMBED.out.vectors)
        .map { meta, part, sidecars -> [meta - [shard: meta.shard], [meta.shard, part, sidecars]] }
        .groupTuple(size: shards)
        .map { meta, items ->
            def ordered = items.toSorted { item -> item[0] }
            def suffix = ordered[0][1].name.replaceFirst('.*[.]1of[0-9]+[.]', '')
            [meta, ordered.collect { item -> item[1] }, ordered.collectMany { item -> item[2] }, suffix]
        }

    CROCUTA_CONCAT(parts)

    emit:
    joined = CROCUTA_CONCAT.out.joined
    stats  = CROCUTA_SCORE.out.stats.mix(CROCUTA_EMBED.out.stats).mix(CROCUTA_CLASSIFY.out.stats)
}

workflow {
    if (!params.fasta) {
        error("--fasta is needed")
    }
    if (!params.crocuta_state_dir.startsWith('/')) {
        error("--crocuta_state_dir: an absolute path, since each task has a directory of its own")
    }
    def steps = params.steps.tokenize(',')
    def fasta = file(params.fasta, checkIfExists: true)
    def indices = ['fai', 'gzi'].collect { suffix -> file("${params.fasta}.${suffix}") }.findAll { index -> index.exists() }
    def regions = params.regions ? file(params.regions, checkIfExists: true) : []
    def model = params.model ? file(params.model, checkIfExists: true) : []
    def classify_model = params.classify_model ? file(params.classify_model, checkIfExists: true) : []
    def head = params.head ? file(params.head, checkIfExists: true) : []
    def sequences = [[id: fasta.simpleName], fasta, indices, regions]

    // Containers mount it, so it has to be there before the first task.
    file(params.crocuta_state_dir).mkdirs()

    vcfs = params.vcf && 'score' in steps ? channel.fromPath(params.vcf, checkIfExists: true) : channel.empty()
    variants = vcfs.map { vcf ->
        def index = ['csi', 'tbi'].collect { suffix -> file("${vcf}.${suffix}") }.findAll { found -> found.exists() }
        [[id: vcf.simpleName], vcf, index, []]
    }

    CROCUTA(
        variants,
        'embed' in steps ? channel.of(sequences) : channel.empty(),
        'classify' in steps ? channel.of(sequences) : channel.empty(),
        [[id: fasta.simpleName], fasta, indices],
        [[id: 'model'], model],
        [[id: 'head'], classify_model, head],
        params.shards as Integer
    )

    STATS_TABLES(
        CROCUTA.out.stats.map { meta, stats -> stats }.collect(),
        file("${projectDir}/../multiqc/stats_to_multiqc.py", checkIfExists: true)
    )
    if (params.multiqc) {
        MULTIQC(STATS_TABLES.out.tables)
    }

    channel.topic('versions')
        .unique()
        .map { name, tool, version -> "${name}:\n    ${tool}: ${version}" }
        .collectFile(name: 'versions.yml', storeDir: params.outdir, newLine: true, sort: true)
}
