// Groovy itself as the judge of nextflow_groovy.py: reads every FILE, and renders the script of every
// task under WORK from what nextflow_run.py left in .command.json.
//
// groovy nextflow_groovy.groovy WORK FILE...
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.Phases

// as Nextflow's own: a list that a string shows with blanks between
class Staged {
    @Delegate(interfaces = false) List files
    String toString() { files.join(' ') }
}

def value(item) {
    if (item.containsKey('file')) return item.file
    if (item.containsKey('files')) return item.files ? new Staged(files: item.files) : []
    if (item.containsKey('map')) return item.map.collectEntries { name, part -> [name, value(part)] }
    if (item.containsKey('list')) return item.list.collect { part -> value(part) }
    return item.value
}

def failed = 0
def read = 0
args.tail().each { path ->
    try {
        def unit = new CompilationUnit()
        unit.addSource(path, new File(path).text.replaceFirst('^#!', '//'))
        unit.compile(Phases.CONVERSION) // syntax; Nextflow makes other code of the sections of a process
        read++
    } catch (CompilationFailedException error) {
        println "${path}: ${error.message}"
        failed++
    }
}

def rendered = 0
new File(args[0]).eachDir { directory ->
    def task = new JsonSlurper().parse(new File(directory, '.command.json'))
    def names = task.names.collectEntries { name, part -> [name, value(part)] }
    def script = new GroovyShell(new Binding(names)).evaluate(task.text).toString().stripIndent().trim() + '\n'
    def ran = new File(directory, '.command.sh').text.replaceFirst('#!.*\n', '')
    if (script != ran) {
        println "${directory}: Groovy makes of it\n${script}\nand not\n${ran}"
        failed++
    }
    rendered++
}
println "${read} files read, ${rendered} scripts rendered, ${failed} failed"
System.exit(failed ? 1 : 0)
