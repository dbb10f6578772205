process CROCUTA_CONCAT {
    tag "${meta.id}"
    label 'process_single'

    // No registry has this image: build it from packaging/docker/Dockerfile of crocuta's repository.
    conda "${moduleDir}/environment.yml"
    container "crocuta:0.1.0"

    input:
    // parts in the order of their shards; sidecars: the .rows.bed.gz and .meta.json of npy parts
    tuple val(meta), path(parts), path(sidecars), val(suffix)

    output:
    tuple val(meta), path("${prefix}.${suffix}"), path("${prefix}.{rows.bed.gz,meta.json}", arity: '0..*'), emit: joined
    tuple val(meta), path("${prefix}.${suffix}.{csi,tbi}"), emit: index, optional: true
    tuple val("${task.process}"), val('crocuta'), eval("crocuta --version | sed -n '1s/^crocuta //p'"), emit: versions_crocuta, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    crocuta concat \\
        ${args} \\
        --output ${prefix}.${suffix} \\
        ${parts}
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    def touch = suffix.endsWith('.gz') ? 'echo "" | gzip >' : 'touch'
    """
    ${touch} ${prefix}.${suffix}
    touch ${prefix}.${suffix}.csi
    echo "" | gzip > ${prefix}.rows.bed.gz
    touch ${prefix}.meta.json
    """
}
