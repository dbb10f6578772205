#!/usr/bin/env python3
"""Checks the files under workflows/nextflow against each other and against the program.

nextflow_check.py CROCUTA TREE...      TREE: the repository, or a copy of the parts that are read

Syntax of every .nf, .config and .nf.test file; names that are used and not declared, or declared and not
used; outputs that a script or its stub does not write; meta.yml against main.nf; versions; options that
the program does not have; parameters. Prints a line a finding, status 1 if there is one. Needs PyYAML.
"""

import glob
import os
import re
import subprocess
import sys

import yaml

from nextflow_groovy import Config, GroovyError, Module, Parser, Scope, Source, evaluate, literal, names_in
from nextflow_run import expand_braces

# staged beside what they belong to, under names that the program looks for
COMPANIONS = {"index", "fasta_index", "sidecars"}
GIVEN = {"task", "params", "moduleDir", "projectDir", "launchDir", "workflow"}
TYPES = {"path": {"file", "directory"}, "val": {"map", "string", "integer", "float", "boolean", "list"}, "eval": {"eval"}}
OPTION = re.compile(r"(?<![\w$.-])(--[a-z][a-z0-9-]*|-[A-Za-z@])(?![\w-])")

found = []


def say(path, message):
    found.append(f"{path}: {message}")


def strings_in(node):
    """Every piece of text that stands in a node or in a list of statements"""
    texts = []
    if isinstance(node, tuple) and node and node[0] == "value" and isinstance(node[1], str):
        texts.append(node[1])
    elif isinstance(node, tuple) and node and node[0] == "string":
        for part in node[1]:
            texts += [part] if isinstance(part, str) else strings_in(part)
    elif isinstance(node, (tuple, list)):
        for item in node:
            texts += strings_in(item)
    elif isinstance(node, dict):
        for item in node.values():
            texts += strings_in(item)
    return texts


def options_of(crocuta, verb, cache={}):  # pylint: disable=dangerous-default-value
    if verb not in cache:
        dump = subprocess.run([crocuta, "options-dump", verb], stdout=subprocess.PIPE, check=True).stdout.decode()
        rows = [line.split("\t") for line in dump.splitlines()]
        cache[verb] = {"--" + row[0] for row in rows} | {"-" + row[1] for row in rows if row[1] != "-"}
        if len(cache[verb]) < 10:
            raise SystemExit(f"{crocuta} options-dump {verb} says nothing")
    return cache[verb]


def check_options(path, crocuta, verb, texts):
    for option in OPTION.findall(" ".join(texts)):
        if option not in options_of(crocuta, verb):
            say(path, f"crocuta {verb} has no option {option}")


def verb_of(process):
    match = re.search(r"^\s*crocuta ([a-z]+)\b", " ".join(strings_in(process.sections["script"])), re.M)
    return match and match.group(1)


def labels_of(process):
    return [(name, evaluate(node, Scope())) for name, node in process.directives if name == "label"]


def assigned_in(statements):
    local = {s[1] for s in statements if s[0] == "def"}
    shared = {s[1][1] for s in statements if s[0] == "assign" and s[1][0] == "name"}
    return local, shared


def text_with_names(statements):
    """The command of a block, with its ${} as they stand"""
    last = statements[-1]
    if last[0] != "expression" or last[1][0] not in ("value", "string"):
        raise GroovyError("a script ends with its text")
    return literal(last[1])


def check_process(path, process):
    inputs = [node[1] for elements, _ in process.inputs for _, node, _ in elements]
    if len(set(inputs)) != len(inputs):
        say(path, "two inputs have one name")
    out_names = set()
    for elements, options in process.outputs:
        if "emit" not in options:
            say(path, "an output without emit")
        for _, node, _ in elements:
            out_names |= names_in(node)
    used = names_in(process.sections["script"]) | out_names
    directives = {name: node for name, node in process.directives}
    for name in inputs:
        if name not in used and name not in COMPANIONS and not re.fullmatch(r"meta\d*", name):
            say(path, f"input {name} is not used")
    for wanted in ("label", "conda", "container"):
        if wanted not in directives:
            say(path, f"no {wanted}")
    if not process.sections.get("when"):
        say(path, "no when")
    shared = {}
    for block in ("script", "stub"):
        statements = process.sections[block]
        local, shared[block] = assigned_in(statements)
        read = names_in([s[2] if s[0] in ("def", "assign") else s for s in statements])
        for name in sorted(read - local - shared[block] - set(inputs) - GIVEN):
            say(path, f"{block}: {name} is not declared")
        for name in sorted(local - read):
            say(path, f"{block}: {name} is not used")
        for name in sorted((out_names & local) - set(inputs)):
            say(path, f"{block}: {name} is used by an output, so it cannot be a def")
        for name in sorted(out_names - shared[block] - set(inputs) - GIVEN):
            say(path, f"{block} does not set {name}, which an output uses")
        command = text_with_names(statements)
        for elements, options in process.outputs:
            for qualifier, node, rules in elements:
                if qualifier != "path":
                    continue
                spare = "optional" in options or "arity" in rules
                texts = expand_braces_of_shell(literal(node))
                if block == "script" and (spare or "*" in literal(node) or not verb_of(process)):
                    continue  # what the program adds by itself: nextflow.bats runs it
                if not any(written(text, command) for text in texts):
                    say(path, f"{block} does not write {literal(node)}")


def expand_braces_of_shell(pattern):
    """{a,b} of a glob, not the braces of ${name}"""
    hidden = re.sub(r"\$\{([^}]*)\}", "\0\\1\1", pattern)
    return [re.sub("\0([^\1]*)\1", r"${\1}", one) for one in expand_braces(hidden)]


def written(pattern, command):
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.search(r"(?<![\w.])" + r"[\w.-]*".join(parts) + r"(?![\w.])", command)


def check_meta(path, process):
    with open(path, encoding="utf-8") as file:
        meta = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for key in ("name", "description", "keywords", "tools", "input", "output", "topics", "authors", "maintainers"):
        if key not in meta:
            say(path, f"no {key}")
            return
    if meta["name"] != process.name.lower():
        say(path, f"name {meta['name']}, process {process.name}")
    if len(set(meta["keywords"])) < 3:
        say(path, "three keywords at least")
    compare(path, "input", meta["input"], [elements for elements, _ in process.inputs])
    outputs = {options["emit"][1]: (elements, options) for elements, options in process.outputs}
    if list(meta["output"]) != list(outputs):
        say(path, f"outputs {list(meta['output'])}, in main.nf {list(outputs)}")
        return
    topics = {}
    for name, (elements, options) in outputs.items():
        compare(path, name, meta["output"][name], [elements])
        if "topic" in options:
            topics.setdefault(options["topic"][1], []).append(elements)
    if set(topics) != set(meta["topics"]):
        say(path, f"topics {list(meta['topics'])}, in main.nf {list(topics)}")
        return
    for name, channels in topics.items():
        compare(path, f"topic {name}", meta["topics"][name], channels)


def compare(path, what, described, channels):
    if len(described) != len(channels):
        say(path, f"{what}: {len(described)} channels, in main.nf {len(channels)}")
        return
    for items, elements in zip(described, channels):
        names = [list(item)[0] for item in items]
        wanted = [literal(node) for _, node, _ in elements]
        if names != wanted:
            say(path, f"{what}: {names}, in main.nf {wanted}")
            continue
        for item, (qualifier, _, _) in zip(items, elements):
            (name, facts), = item.items()
            if facts.get("type") not in TYPES[qualifier]:
                say(path, f"{what}: {name} is a {qualifier}, not a {facts.get('type')}")
            if not facts.get("description"):
                say(path, f"{what}: {name} has no description")
            if facts.get("type") == "file" and not facts.get("pattern"):
                say(path, f"{what}: {name} has no pattern")


def check_environment(path, version):
    with open(path, encoding="utf-8") as file:
        environment = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if environment.get("channels") != ["conda-forge", "bioconda"]:
        say(path, "channels: conda-forge, bioconda")
    if environment.get("dependencies") != [f"bioconda::crocuta={version}"]:
        say(path, f"dependencies: bioconda::crocuta={version} alone")


def tests_in(node, name):
    """(process, text of its inputs): of the process that is tested, and of those that a setup runs"""
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, (tuple, list)):
        return []
    if node and node[0] == "call" and node[1][:2] == ("name", "run"):
        name = node[2][0][1]
    if node and node[0] in ("value", "string"):
        return [(name, literal(node))] if "input[" in literal(node) else []
    return [pair for item in node for pair in tests_in(item, name)]


def check_test(path, process, processes):
    """nf-test: it parses, and gives every process as many inputs as it takes"""
    with open(path, encoding="utf-8") as file:
        source = Source(file.read(), path)
    statements = Parser(source).program()
    if f'process "{process.name}"' not in source.text:
        say(path, f"does not name {process.name}")
    given = tests_in(statements, process.name)
    if not given:
        say(path, "no test gives inputs")
    for name, text in given:
        channels, indices = processes[name].inputs, []
        for statement in Parser(Source(text, path)).program():
            if statement[0] != "assign" or statement[1][0] != "index" or statement[1][1][:2] != ("name", "input"):
                say(path, "only input[N] = ... among the inputs")
                continue
            indices.append(statement[1][2][1])
            value = statement[2]
            if indices[-1] < len(channels) and value[0] == "list" and len(value[1]) != len(channels[indices[-1]][0]):
                say(path, f"{name}: input[{indices[-1]}] takes {len(channels[indices[-1]][0])} values")
        if indices != list(range(len(channels))):
            say(path, f"inputs {indices}, {name} takes {len(channels)}")
    if "-stub" not in strings_in(statements):
        say(path, "no test of the stub")


def check_params(tree, config, modules, readme):
    known = set(config.params)
    used = set()
    texts = [module.source.text for module in modules]
    with open(os.path.join(tree, "workflows/nextflow/nextflow.config"), encoding="utf-8") as file:
        texts.append(file.read())
    for text in texts:
        used |= set(re.findall(r"\bparams\.([a-z_]+)", text))
    for name in sorted(used - known):
        say("nextflow.config", f"params.{name} has no default")
    for name in sorted(known - used):
        say("nextflow.config", f"params.{name} is not used")
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    for command in re.findall(r"^nextflow run (?:.*\\\n)*.*$", text, re.M):
        for name in re.findall(r"(?<!\S)--([a-z_]+)", re.sub(r"'[^']*'", "", command)):
            if name not in known:
                say(readme, f"no parameter {name}")
    for name in sorted(known):
        if f"`{name}`" not in text and f"`--{name}`" not in text:
            say(readme, f"does not explain {name}")


def main(tree, crocuta):
    base = os.path.join(tree, "workflows/nextflow")
    with open(os.path.join(tree, "include/crocuta/crocuta.h"), encoding="utf-8") as file:
        version = re.search(r'#define CROCUTA_VERSION "([^"]+)"', file.read()).group(1)
    modules = {}
    for path in sorted(glob.glob(f"{base}/**/*.nf", recursive=True)):
        modules[path] = Module(path)
    if len(modules) < 7:
        raise SystemExit("modules are missing")
    processes = {p.name: p for module in modules.values() for p in module.processes.values()}
    for path, module in modules.items():
        for process in module.processes.values():
            check_process(path, process)
            verb = verb_of(process)
            if not verb:
                continue
            check_options(path, crocuta, verb, strings_in(process.sections["script"][:-1]))
            check_options(path, crocuta, verb, [text_with_names(process.sections["script"])])
            for accelerator, image in ((None, f"crocuta:{version}"), (1, f"crocuta:{version}-cuda")):
                task = Scope({"task": {"accelerator": accelerator}})
                container = evaluate(dict(process.directives)["container"], task)
                if container != image and (accelerator is None or ("label", "process_gpu") in labels_of(process)):
                    say(path, f"container: {container} and not {image}")
            folder = os.path.dirname(path)
            check_meta(os.path.join(folder, "meta.yml"), process)
            check_environment(os.path.join(folder, "environment.yml"), version)
            check_test(os.path.join(folder, "tests/main.nf.test"), process, processes)
    config = None
    for path in sorted(glob.glob(f"{base}/**/*.config", recursive=True)):
        one = Config({"launchDir": "/launch", "projectDir": base, "baseDir": base})
        with open(path, encoding="utf-8") as file:
            text = file.read()
        names = re.findall(r"^    (\w+) \{$", text.partition("\nprofiles {")[2], re.M)
        if path.endswith("nextflow/nextflow.config"):
            config = one
            if len(names) < 5:
                say(path, "profiles are missing")
            one.read(path, names)
        elif path.endswith("nf-test.config"):
            Parser(Source(text, path)).program()
        else:
            one.read(path)
        for kind, pattern, settings in one.selectors:
            hit = [p for p in processes.values() if kind == "withName" and re.fullmatch(pattern, p.name)]
            labels = {label for p in processes.values() for label in labels_of(p)}
            if not hit and not (kind == "withLabel" and ("label", pattern) in labels):
                say(path, f"{kind}: {pattern} fits nothing")
            for process in hit:
                value = settings.get("ext.args")
                if value is not None and verb_of(process):
                    texts = strings_in(value.body) if hasattr(value, "body") else [value]
                    check_options(path, crocuta, verb_of(process), texts)
    for name, value in config.params.items():
        if name.endswith("_args"):
            check_options("nextflow.config", crocuta, name[: -len("_args")], [value])
    check_params(tree, config, modules.values(), os.path.join(base, "README.md"))


if __name__ == "__main__":
    failed = False
    for tree in map(os.path.abspath, sys.argv[2:]):
        found.clear()
        try:
            main(tree, sys.argv[1])
        except GroovyError as error:
            found.append(str(error))
        failed |= bool(found)
        for line in found:
            print(line if line.startswith("/") else f"{tree}/workflows/nextflow/{line}")
    sys.exit(failed)
