process STATS_TABLES {
    label 'process_single'

    // any image with Python 3
    conda "conda-forge::python=3.11"
    container "python:3.11"

    input:
    path(stats)
    path(converter)

    output:
    path "crocuta_*_mqc.json", emit: tables

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    """
    python3 ${converter} ${args} --output-dir . ${stats}
    """

    stub:
    """
    touch crocuta_runs_mqc.json
    """
}
