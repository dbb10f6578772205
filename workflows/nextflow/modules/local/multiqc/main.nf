// A pipeline of nf-core takes nf-core's module `multiqc` instead.
process MULTIQC {
    label 'process_single'

    conda "bioconda::multiqc=1.14"
    // Any image with MultiQC (and Python) under this name.
    container "multiqc:1.14"

    input:
    path(tables)

    output:
    path "multiqc_report.html", emit: report
    path "multiqc_data", emit: data
    tuple val("${task.process}"), val('multiqc'), eval("multiqc --version | sed 's/.* //'"), emit: versions_multiqc, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    """
    multiqc --force ${args} ${tables}
    """

    stub:
    """
    mkdir multiqc_data
    touch multiqc_report.html
    """
}
