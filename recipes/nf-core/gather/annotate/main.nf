process GATHER_ANNOTATE {
    tag "$meta.id"
    label 'process_single'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/vckg:0.2.0--pyhdfd78af_0':
        'quay.io/biocontainers/vckg:0.2.0--pyhdfd78af_0' }"

    input:
    tuple val(meta), path(h5ad)
    path graph

    output:
    tuple val(meta), path("*.annotated.h5ad"), emit: h5ad
    tuple val(meta), path("*.report.html")   , emit: report
    tuple val(meta), path("*.json")          , emit: json
    tuple val("${task.process}"), val('vckg'), eval("python -c 'import vckg; print(vckg.__version__)'"), topic: versions, emit: versions_vckg

    when:
    task.ext.when == null || task.ext.when

    script:
    def args   = task.ext.args ?: '--groupby auto'
    def prefix = task.ext.prefix ?: "${meta.id}"
    def folder = graph ? "--graph ${graph}" : ''
    """
    export NUMBA_CACHE_DIR=./numba
    gather annotate ${h5ad} --output ${prefix}.annotated.h5ad --report ${prefix}.report.html ${folder} ${args} --quiet --json > ${prefix}.json
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.annotated.h5ad ${prefix}.report.html ${prefix}.json
    """
}
