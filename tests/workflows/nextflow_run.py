#!/usr/bin/env python3
"""Runs a workflow of Nextflow's language as Nextflow would, as far as the files here use it.

nextflow_run.py [-c CONFIG]... [-profile A,B] [-stub-run] [-work-dir DIR] [-order forward|backward]
                MAIN.nf [--PARAM VALUE]...

Each task gets a directory of its own with its inputs as symbolic links, `.command.sh`, and nothing else;
the script is run by the configured shell with a bare environment. Statuses go through errorStrategy, a
retry starts in a new directory. A task whose outputs are not there, or that touches an input, fails.
Prints a line a task: name, tag, attempt, status, directory. `-order` says in which order the tasks of a
process finish: nothing may depend on it.

What is not implemented is an error (see nextflow_groovy.py), not skipped.
"""

import glob
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

from nextflow_groovy import (
    Closure,
    Config,
    File,
    Files,
    GroovyError,
    Module,
    Quantity,
    Scope,
    StrictMap,
    dedent,
    evaluate,
    run_block,
    text_of,
    true,
)


# ---------------------------------------------------------------- channels


class Channel:
    """Items that are there when they are asked for; value: one item that can be read again and again"""

    def __init__(self, make, value=False):
        self.make, self.value, self.made = make, value, None

    def items(self):
        if self.made is None:
            self.made = list(self.make())
        return self.made

    def groovy_method(self, name):
        return {
            "map": lambda f: Channel(lambda: [f(item) for item in self.items()], self.value),
            "mix": lambda *others: Channel(lambda: [item for c in (self, *others) for item in c.items()]),
            "combine": lambda other: Channel(lambda: self.combined(other)),
            "groupTuple": lambda size: Channel(lambda: self.grouped(size)),
            "collect": lambda: Channel(self.collected, value=True),
            "unique": lambda: Channel(self.distinct),
            "collectFile": self.collect_file,
        }.get(name)

    def combined(self, other):
        def parts(item):
            return item if isinstance(item, list) else [item]

        return [parts(a) + parts(b) for a in self.items() for b in other.items()]

    def grouped(self, size):
        """As groupTuple(size:): a group is complete when it has `size` items; others are dropped"""
        groups = []
        for key, *rest in self.items():
            for group in groups:
                if group[0] == key and len(group[1]) < size:
                    group[1].append(rest)
                    break
            else:
                groups.append((key, [rest]))
        return [[key] + [list(column) for column in zip(*rows)] for key, rows in groups if len(rows) == size]

    def collected(self):
        found = []
        for item in self.items():
            found += item if isinstance(item, list) else [item]
        return [found] if found else []

    def distinct(self):
        found = []
        for item in self.items():
            if item not in found:
                found.append(item)
        return found

    def collect_file(self, name, storeDir, newLine, sort):
        def write():
            lines = [text_of(item) for item in self.items()]
            os.makedirs(storeDir, exist_ok=True)
            with open(os.path.join(storeDir, name), "w", encoding="utf-8") as file:
                file.write("".join(line + "\n" * newLine for line in (sorted(lines) if sort else lines)))
            return [File(os.path.join(storeDir, name))]

        sink = Channel(write)
        Engine.current.sinks.append(sink)
        return sink


class Named:
    """Something with properties alone: the out of a process or workflow"""

    def __init__(self, values):
        self.values = values

    def groovy_property(self, name):
        if name not in self.values:
            raise GroovyError(f"there is no {name} among {', '.join(self.values)}")
        return self.values[name]


class ChannelFactory:
    def groovy_method(self, name):
        return {
            "of": lambda *items: Channel(
                lambda: [x for item in items for x in (item if isinstance(item, range) else [item])]
            ),
            "empty": lambda: Channel(lambda: []),
            "fromPath": self.from_path,
            "topic": lambda topic: Channel(lambda: Engine.current.topics.get(topic, [])),
        }.get(name)

    def from_path(self, pattern, checkIfExists):
        found = sorted(glob.glob(text_of(pattern)))
        if checkIfExists and not found:
            raise GroovyError(f"no file is {pattern}")
        return Channel(lambda: [File(os.path.realpath(path)) for path in found])


def as_channel(value):
    return value if isinstance(value, Channel) else Channel(lambda: [value], value=True)


# ---------------------------------------------------------------- workflows


class Engine:
    current = None

    def __init__(self, main, config, options):
        Engine.current = self
        self.main, self.config, self.options = Module(main), config, options
        self.topics, self.sinks, self.calls, self.number = {}, [], [], 0
        self.failed = None

    def builtins(self):
        return {
            "channel": ChannelFactory(),
            "params": self.config.params,
            "file": self.file,
            "error": self.error,
            "projectDir": os.path.dirname(self.main.path),
            "launchDir": os.getcwd(),
        }

    def file(self, path, checkIfExists=False):
        path = text_of(path)
        if checkIfExists and not os.path.exists(path):
            raise GroovyError(f"no file is {path}")
        return File(os.path.abspath(path))

    def error(self, message):
        raise GroovyError(message)

    def run(self):
        self.run_workflow(self.main, "", [], "")
        for call in self.calls:  # every process runs, whether its outputs are used or not
            call.items()
        for sink in self.sinks:
            sink.items()

    def run_workflow(self, module, name, arguments, prefix):
        sections, section = {"main": []}, "main"
        for statement in module.workflows[name]:
            if statement[0] == "label":
                section = statement[1]
                if section not in ("take", "main", "emit"):
                    raise GroovyError(f"no section {section} in a workflow")
                sections.setdefault(section, [])
            else:
                sections[section].append(statement)
        takes = [statement[1][1] for statement in sections.get("take", [])]
        if len(takes) != len(arguments):
            raise GroovyError(f"workflow {name} takes {len(takes)} inputs, not {len(arguments)}")
        scope = Scope(dict(zip(takes, arguments)), Scope(self.builtins()))
        self.define(module, scope, prefix + name + ":" if name else prefix)
        run_block(sections["main"], scope)
        return Named(
            {statement[1][1]: evaluate(statement[2], scope) for statement in sections.get("emit", [])}
        )

    def define(self, module, scope, prefix):
        """What can be called in a workflow of this module, once each"""
        known = {}
        for name, path in module.includes:
            path = os.path.join(os.path.dirname(module.path), path)
            other = Module(path if path.endswith(".nf") else path + ".nf")
            if name not in other.processes and name not in other.workflows:
                raise GroovyError(f"{path} has no {name}")
            known[name] = other
        for name in list(module.processes) + [name for name in module.workflows if name]:
            known[name] = module
        for name, owner in known.items():
            scope.values[name] = Callable(self, owner, name, prefix)


class Callable:
    def __init__(self, engine, module, name, prefix):
        self.engine, self.module, self.name, self.prefix = engine, module, name, prefix
        self.out = None

    def __call__(self, *arguments):
        if self.out:
            raise GroovyError(f"{self.name} is called twice")
        if self.name in self.module.workflows:
            self.out = self.engine.run_workflow(self.module, self.name, list(arguments), self.prefix)
        else:
            process = self.module.processes[self.name]
            self.out = ProcessCall(self.engine, self.module, process, self.prefix, arguments).out
        return self.out

    def groovy_property(self, name):
        if name != "out" or not self.out:
            raise GroovyError(f"{self.name}.{name}, before it was called")
        return self.out


# ---------------------------------------------------------------- tasks


class ProcessCall:
    def __init__(self, engine, module, process, prefix, arguments):
        self.engine, self.module, self.process = engine, module, process
        self.full_name = prefix + process.name
        if len(arguments) != len(process.inputs):
            raise GroovyError(f"{process.name} takes {len(process.inputs)} inputs, not {len(arguments)}")
        self.inputs = [as_channel(argument) for argument in arguments]
        self.labels = [evaluate(node, Scope()) for name, node in process.directives if name == "label"]
        self.settings = engine.config.of_process(process.name, self.full_name, self.labels)
        self.results = Channel(self.run)
        engine.calls.append(self.results)
        single = all(channel.value for channel in self.inputs)
        emitted = {}
        for index, (_, options) in enumerate(process.outputs):
            emitted[options["emit"][1]] = Channel(
                lambda index=index: [r[index] for r in self.results.items() if r[index] is not None], single
            )
        self.out = Named(emitted)

    def run(self):
        """Queue channels are read side by side, value channels again and again"""
        queues = [channel.items() for channel in self.inputs if not channel.value]
        count = min(len(queue) for queue in queues) if queues else 1
        if any(channel.value and not channel.items() for channel in self.inputs):
            count = 0
        tasks = []
        for index in range(count):
            values = [c.items()[0] if c.value else c.items()[index] for c in self.inputs]
            tasks.append([item for item in self.tasks_of(values)])
        results = list(itertools.chain(*tasks))
        if self.engine.options["order"] == "backward":
            results.reverse()
        for result in results:
            for (_, options), value in zip(self.process.outputs, result):
                if "topic" in options and value is not None:
                    self.engine.topics.setdefault(options["topic"][1], []).append(value)
        return results

    def tasks_of(self, values):
        attempt, status = 1, None
        while True:
            task = Task(self, values, attempt, status)
            if not task.wanted():
                return
            status = task.run()
            if status == 0:
                yield task.outputs()
                return
            strategy = task.setting("errorStrategy", "terminate")
            if strategy != "retry" or attempt > task.setting("maxRetries", 1):
                raise GroovyError(f"{self.full_name}: status {status} in {task.directory}\n{task.log()}")
            attempt += 1


class TaskView(StrictMap):
    """The `task` of a script"""


class Task:
    def __init__(self, call, values, attempt, status):
        self.call, self.attempt = call, attempt
        self.process, engine = call.process, call.engine
        engine.number += 1
        self.directory = os.path.join(engine.options["work"], f"{engine.number:03d}")
        os.makedirs(self.directory)
        self.staged, bound = {}, {}
        for (elements, _), value in zip(self.process.inputs, values):
            parts = value if len(elements) > 1 else [value]
            if not isinstance(parts, list) or len(parts) != len(elements):
                raise GroovyError(f"{call.full_name}: {len(elements)} values expected, not {value!r}")
            for (qualifier, node, options), part in zip(elements, parts):
                if set(options) - {"stageAs"} or node[0] != "name":
                    raise GroovyError(f"{call.full_name}: inputs have plain names here, and stageAs alone")
                folder = evaluate(options["stageAs"], Scope()) if options else "*"
                bound[node[1]] = self.stage(part, folder) if qualifier == "path" else part
        if "meta" in bound:
            bound["meta"] = StrictMap(bound["meta"])
        self.bound = bound
        self.view = TaskView(process=call.full_name, attempt=attempt, exitStatus=status, accelerator=None)
        self.scope = Scope(
            {
                **bound,
                "task": self.view,
                "params": engine.config.params,
                "moduleDir": os.path.dirname(call.module.path),
                "workflow": StrictMap(containerEngine=None, stubRun=engine.options["stub"]),
            }
        )
        self.view["ext"] = {}
        for key, setting in call.settings.items():
            if key in ("errorStrategy", "maxRetries", "publishDir", "shell"):
                continue
            if key.startswith("ext."):
                self.view["ext"][key[4:]] = self.value_of(setting)
            elif key == "accelerator":
                self.view[key] = StrictMap(request=setting)
            elif key in ("cpus", "memory", "time", "executor", "clusterOptions"):
                self.view[key] = self.value_of(setting)
            else:
                raise GroovyError(f"the setting {key} is not known here")
        for name, node in self.process.directives:
            if name == "tag":
                self.view["tag"] = evaluate(node, self.scope)
            elif name in ("conda", "container"):
                if not isinstance(evaluate(node, self.scope), str):
                    raise GroovyError(f"{call.full_name}: {name}")
            elif name != "label":
                raise GroovyError(f"the directive {name} is not known here")

    def value_of(self, setting):
        if not isinstance(setting, Closure):
            return setting
        return Closure(setting.names, setting.body, Scope(self.scope.values, setting.scope))()

    def setting(self, name, default):
        return self.value_of(self.call.settings.get(name, default))

    def stage(self, value, pattern):
        """Links in the task directory, under the names of the files; pattern: `*` or `DIR/*`"""
        if isinstance(value, list):
            return Files(self.stage(item, pattern) for item in value)
        if not re.fullmatch(r"([a-z]+/)?\*", pattern):
            raise GroovyError(f"stageAs: {pattern}")
        if not isinstance(value, File):
            raise GroovyError(f"{self.call.full_name}: path() got {value!r}")
        name = pattern.replace("*", os.path.basename(value.path))
        os.makedirs(os.path.dirname(os.path.join(self.directory, name)), exist_ok=True)
        if name in self.staged:
            raise GroovyError(f"{self.call.full_name}: two inputs are called {name}")
        if not os.path.exists(value.path):
            raise GroovyError(f"{self.call.full_name}: {value.path} is not there")
        os.symlink(value.path, os.path.join(self.directory, name))
        self.staged[name] = value.path
        return File(name)

    def wanted(self):
        when = self.process.sections.get("when")
        return not when or true(run_block(when, self.scope))

    def script(self):
        block = "stub" if self.call.engine.options["stub"] else "script"
        result = run_block(self.process.sections[block], self.scope)
        with open(os.path.join(self.directory, ".command.json"), "w", encoding="utf-8") as file:
            json.dump(self.recorded(block), file)  # for the comparison with Groovy
        return dedent(result) + "\n"

    def recorded(self, block):
        def plain(value):
            if isinstance(value, File):
                return {"file": value.path}
            if isinstance(value, Files):
                return {"files": [item.path for item in value]}
            if isinstance(value, dict):
                return {"map": {key: plain(item) for key, item in value.items()}}
            if isinstance(value, list):
                return {"list": [plain(item) for item in value]}
            if isinstance(value, Quantity):
                return {"value": f"{value.number} {value.unit}"}
            return {"value": value}

        return {
            "text": self.process.text(block),
            "names": {key: plain(value) for key, value in {**self.bound, "task": self.view}.items()},
        }

    def run(self):
        shell = self.setting("shell", ["bash", "-ue"])
        path = os.path.join(self.directory, ".command.sh")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/usr/bin/env " + " ".join(shell) + "\n" + self.script())
        before = self.fingerprint()
        with open(os.path.join(self.directory, ".command.log"), "wb") as log:
            status = subprocess.run(
                [*shell, path],
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        status = 128 - status if status < 0 else status
        tag = self.view.get("tag", "")
        print(f"{self.call.full_name}\t{tag}\t{self.attempt}\t{status}\t{self.directory}", flush=True)
        if self.fingerprint() != before:
            raise GroovyError(f"{self.call.full_name}: an input has changed")
        self.view["exitStatus"] = status
        return status

    def log(self):
        with open(os.path.join(self.directory, ".command.log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def environment(self):
        keep = ("PATH", "CROCUTA_MODEL_PATH", "SOURCE_DATE_EPOCH", "LC_ALL", "HOME", "TMPDIR")
        return {**{k: v for k, v in os.environ.items() if k in keep}, **self.call.engine.config.environment()}

    def fingerprint(self):
        """Of the inputs, and of the names beside them: nothing is written there"""
        digests = {}
        for path in self.staged.values():
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    digests[path] = hashlib.sha256(file.read()).hexdigest()
            beside = path if os.path.isdir(path) else os.path.dirname(path)
            digests[beside + "/"] = sorted(os.listdir(beside))
        return digests

    def outputs(self):
        results, published = [], []
        for elements, options in self.process.outputs:
            values, missing = [], False
            for qualifier, node, rules in elements:
                if qualifier == "path":
                    value = self.find(node, rules, options)
                    missing |= value is None
                    published += value if isinstance(value, list) else [value] if value else []
                elif qualifier == "eval":
                    value = self.evaluated(evaluate(node, self.scope))
                else:
                    value = evaluate(node, self.scope)
                values.append(value)
            results.append(None if missing else values if len(values) > 1 else values[0])
        self.publish(published)
        return results

    def find(self, node, rules, options):
        pattern = evaluate(node, self.scope)
        found = []
        for one in expand_braces(pattern):
            found += [
                path
                for path in sorted(glob.glob(os.path.join(glob.escape(self.directory), one)))
                if os.path.relpath(path, self.directory) not in self.staged
            ]
        files = [File(path) for path in found]
        if "arity" in rules:
            if evaluate(rules["arity"], self.scope) != "0..*":
                raise GroovyError("arity: '0..*' alone is known here")
            return files
        if not files:
            if "optional" in options and evaluate(options["optional"], self.scope) is True:
                return None
            raise GroovyError(f"{self.call.full_name}: no output is {pattern} in {self.directory}")
        return files[0] if len(files) == 1 else files

    def evaluated(self, command):
        """As Nextflow's wrapper: in double quotes behind `bash -c`, in the task directory"""
        quoted = command.replace('"', '\\"')
        run = subprocess.run(
            ["bash", "-c", f'bash -c "{quoted}"'],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        if run.returncode:
            raise GroovyError(f"{self.call.full_name}: {command} ended with {run.returncode}")
        return run.stdout.decode().rstrip("\n")

    def publish(self, files):
        settings = self.setting("publishDir", None)
        if not settings:
            return
        unknown = set(settings) - {"path", "mode", "pattern"}
        if unknown or settings["mode"] != "copy":
            raise GroovyError(f"publishDir: {settings}")
        os.makedirs(text_of(settings["path"]), exist_ok=True)
        for file in files:
            name = os.path.basename(file.path)
            if "pattern" in settings and not glob.fnmatch.fnmatch(name, settings["pattern"]):
                continue
            target = os.path.join(text_of(settings["path"]), name)
            if os.path.exists(target):
                raise GroovyError(f"{target} is published twice")
            (shutil.copytree if os.path.isdir(file.path) else shutil.copyfile)(file.path, target)


def expand_braces(pattern):
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    return [
        one
        for choice in match.group(1).split(",")
        for one in expand_braces(pattern[: match.start()] + choice + pattern[match.end() :])
    ]


# ---------------------------------------------------------------- command line


def main(arguments):
    options = {"work": "work", "order": "forward", "stub": False}
    configs, profiles, params, script = [], [], {}, None
    while arguments:
        argument = arguments.pop(0)
        if argument == "-c":
            configs.append(arguments.pop(0))
        elif argument == "-profile":
            profiles = arguments.pop(0).split(",")
        elif argument == "-stub-run":
            options["stub"] = True
        elif argument == "-work-dir":
            options["work"] = arguments.pop(0)
        elif argument == "-order":
            options["order"] = arguments.pop(0)
        elif argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            if not equals:
                value = arguments.pop(0)
                if value.startswith("-") and " " not in value:
                    raise GroovyError(f"Nextflow takes {value} for an option: write --{name}={value}")
            params[name] = {"true": True, "false": False}.get(value, int(value) if value.isdigit() else value)
        elif script is None:
            script = argument
        else:
            raise GroovyError(f"what is {argument}?")
    options["work"] = os.path.abspath(options["work"])
    project = os.path.dirname(os.path.realpath(script))
    config = Config({"launchDir": os.getcwd(), "projectDir": project, "baseDir": project})
    config.command_line = params
    default = os.path.join(project, "nextflow.config")
    if os.path.exists(default):
        config.read(default, profiles)
        unknown = set(params) - set(config.params)
        if unknown:
            raise GroovyError(f"no parameter {', '.join(sorted(unknown))}")
    for path in configs:
        config.read(path, ())
    config.params.update(params)
    Engine(script, config, options).run()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except GroovyError as error:
        sys.exit(f"nextflow_run.py: {error}")
