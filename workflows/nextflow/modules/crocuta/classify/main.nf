process CROCUTA_CLASSIFY {
    tag "${meta.id} ${shard}"
    label 'process_medium'
    label 'process_gpu'

    // No registry has these images: build them from packaging/docker/Dockerfile of crocuta's repository.
    conda "${moduleDir}/environment.yml"
    container "${task.accelerator ? 'crocuta:0.1.0-cuda' : 'crocuta:0.1.0'}"

    input:
    tuple val(meta), path(sequences), path(index), path(regions), val(shard)
    tuple val(meta2), path(model), path(head, stageAs: 'head/*')

    output:
    tuple val(meta), path("${prefix}.${suffix}"), emit: classes
    tuple val(meta), path("${prefix}.${suffix}.{csi,tbi}"), emit: index, optional: true
    tuple val(meta), path("${prefix}.stats.json"), emit: stats
    tuple val("${task.process}"), val('crocuta'), eval("crocuta --version | sed -n '1s/^crocuta //p'"), emit: versions_crocuta, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def regions_option = regions ? "--regions-file ${regions}" : ''
    def model_option = model ? "--model ${model}" : ''
    def head_option = head ? "--head ${head}" : ''
    def shard_option = shard ? "--shard ${shard}" : ''
    def part = shard ? ".${shard.replace('/', 'of')}" : ''
    // Named, not left to chance: shards of one run have to be made on one kind of device.
    def device = task.ext.device ?: (task.accelerator ? 'cuda' : 'cpu')
    prefix = "${task.ext.prefix ?: meta.id}${part}"
    suffix = task.ext.suffix ?: 'bed.gz'
    """
    crocuta classify \\
        -@ ${task.cpus} \\
        --device ${device} \\
        ${model_option} \\
        ${head_option} \\
        ${regions_option} \\
        ${shard_option} \\
        ${args} \\
        --stats ${prefix}.stats.json \\
        --output ${prefix}.${suffix} \\
        ${sequences}
    """

    stub:
    def part = shard ? ".${shard.replace('/', 'of')}" : ''
    prefix = "${task.ext.prefix ?: meta.id}${part}"
    suffix = task.ext.suffix ?: 'bed.gz'
    def touch = suffix.endsWith('.gz') ? 'echo "" | gzip >' : 'touch'
    """
    ${touch} ${prefix}.${suffix}
    touch ${prefix}.${suffix}.csi
    touch ${prefix}.stats.json
    """
}
