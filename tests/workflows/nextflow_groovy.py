"""The part of Groovy that the files under workflows/nextflow are written in: read, and evaluated.

Nextflow itself is a download that tests cannot make, so they evaluate its files with this. It is strict:
whatever is not listed here (a construct, a method, a property, a null inside a string) is an error, so
that no file passes because something in it was not looked at. Where the program `groovy` is installed,
nextflow.bats compares what it makes of the scripts with what this makes of them.
"""

import os
import re


class GroovyError(Exception):
    pass


# ---------------------------------------------------------------- tokens


class Token:
    __slots__ = ("kind", "value", "at", "end", "newline", "space")

    def __init__(self, kind, value, at, end, newline, space):
        self.kind, self.value, self.at, self.end = kind, value, at, end
        self.newline, self.space = newline, space  # what stands before it

    def is_op(self, *values):
        return self.kind == "op" and self.value in values

    def is_word(self, *values):
        return self.kind == "word" and self.value in values


OPERATORS = sorted(
    "?: ?. <=> == != <= >= && || .. -> { } ( ) [ ] . , ; : ? = < > ! + - * / %".split(), key=len, reverse=True
)
ESCAPES = {"\\": "\\", "n": "\n", "t": "\t", "'": "'", '"': '"', "$": "$", "\n": ""}


class Source:
    def __init__(self, text, name):
        self.text, self.name = text, name

    def error(self, at, message):
        line = self.text.count("\n", 0, at) + 1
        raise GroovyError(f"{self.name}:{line}: {message}")

    def tokens(self, at=0, inner=False):
        """Tokens from `at` on; inner: up to the brace that closes ${ of a string, and its place."""
        text, found, depth = self.text, [], 0
        newline = space = False
        while True:
            if at >= len(text):
                if inner:
                    self.error(at, "a ${ is not closed")
                found.append(Token("end", None, at, at, newline, space))
                return found
            c = text[at]
            if c == "\n":
                newline, at = True, at + 1
            elif c in " \t":
                space, at = True, at + 1
            elif text.startswith("//", at) or text.startswith("#!", at) and at == 0:
                at = text.find("\n", at) if "\n" in text[at:] else len(text)
            elif text.startswith("/*", at):
                end = text.find("*/", at)
                if end < 0:
                    self.error(at, "a comment is not closed")
                space, at = True, end + 2
            else:
                if inner and c == "}" and not depth:
                    found.append(Token("end", None, at, at, newline, space))
                    return found, at + 1
                depth += (c == "{") - (c == "}")
                token = self.token(at, newline, space)
                found.append(token)
                at, newline, space = token.end, False, False

    def token(self, at, newline, space):
        text, c = self.text, self.text[at]
        if c in "'\"":
            value, end = self.string(at)
            return Token("string", value, at, end, newline, space)
        match = re.compile(r"[0-9]+").match(text, at)
        if match:
            if re.compile(r"\.[0-9]").match(text, match.end()):
                self.error(at, "numbers are whole here")
            return Token("number", int(match.group()), at, match.end(), newline, space)
        match = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").match(text, at)
        if match:
            return Token("word", match.group(), at, match.end(), newline, space)
        for operator in OPERATORS:
            if text.startswith(operator, at):
                return Token("op", operator, at, at + len(operator), newline, space)
        self.error(at, f"what is {c!r}?")

    def string(self, at):
        """A list of strings and token lists, and where it ends."""
        text, start = self.text, at
        quote = text[at] * 3 if text.startswith(text[at] * 3, at) else text[at]
        at += len(quote)
        parts, plain = [], []
        while True:
            if at >= len(text) or len(quote) == 1 and text[at] == "\n":
                self.error(start, "a string is not closed")
            if text.startswith(quote, at):
                parts.append("".join(plain))
                return parts, at + len(quote)
            if text[at] == "\\":
                if text[at + 1] not in ESCAPES:
                    self.error(at, f"the escape \\{text[at + 1]} is not one of Groovy's")
                plain.append(ESCAPES[text[at + 1]])
                at += 2
            elif text[at] == "$" and quote[0] == '"':
                if text[at + 1 : at + 2] != "{":
                    self.error(at, "a $ of Groovy takes braces here, one of the shell a backslash")
                tokens, end = self.tokens(at + 2, inner=True)
                parts += ["".join(plain), tokens]
                plain, at = [], end
            else:
                plain.append(text[at])
                at += 1


# ---------------------------------------------------------------- syntax
#
# A node is a tuple: its kind, then its parts.

WORD_OPERATORS = {"in", "as", "instanceof"}
RESERVED = WORD_OPERATORS | {"def", "if", "else", "return", "for", "while", "switch", "try", "new", "import", "class"}
BINARY = [["||"], ["&&"], ["==", "!="], ["<", ">", "<=", ">=", "<=>", "in", "as"], [".."], ["+", "-"], ["*", "/", "%"]]


class Parser:
    def __init__(self, source, tokens=None):
        self.source, self.tokens, self.n = source, tokens or source.tokens(), 0

    @property
    def next(self):
        return self.tokens[self.n]

    def error(self, message, token=None):
        self.source.error((token or self.next).at, message)

    def take(self):
        self.n += 1
        return self.tokens[self.n - 1]

    def op(self, value):
        if not self.next.is_op(value):
            self.error(f"{value} expected, not {self.next.value!r}")
        return self.take()

    def accept(self, value):
        return self.next.is_op(value) and bool(self.take())

    # -- statements

    def program(self):
        statements = self.statements("end")
        return statements

    def statements(self, closer):
        found = []
        while True:
            while self.accept(";"):
                pass
            if self.next.kind == "end" or self.next.is_op("}"):
                if (closer == "end") != (self.next.kind == "end"):
                    self.error("braces do not match")
                return found
            if found and not (self.next.newline or self.tokens[self.n - 1].is_op(";")):
                self.error(f"a new line expected before {self.next.value!r}")
            found.append(self.statement())

    def block(self):
        self.op("{")
        found = self.statements("}")
        self.op("}")
        return found

    def statement(self):
        token, after = self.next, self.tokens[min(self.n + 1, len(self.tokens) - 1)]
        if token.kind == "word" and after.is_op(":") and not after.newline:
            self.take(), self.take()
            if self.next.newline or self.next.kind == "end":
                return ("label", token.value, token.at, after.end)
            selected = self.primary()  # withName: 'X' { }
            return ("selector", token.value, selected, ("closure", [], self.block()))
        if token.is_word("def"):
            self.take()
            name = self.word()
            self.op("=")
            return ("def", name, self.expression())
        if token.is_word("if"):
            self.take()
            self.op("(")
            condition = self.expression()
            self.op(")")
            yes, no = self.block(), []
            if self.next.is_word("else"):
                self.take()
                no = [self.statement()] if self.next.is_word("if") else self.block()
            return ("if", condition, yes, no)
        if token.kind == "word" and token.value in RESERVED:
            self.error(f"{token.value!r} is not used in these files")
        if token.kind == "word" and self.is_command(after):
            self.take()
            arguments, named = self.arguments()
            return ("command", token.value, arguments, named, token.at)
        target = self.expression()
        if self.accept("="):
            if target[0] not in ("name", "property", "index"):
                self.error("cannot assign to this", token)
            return ("assign", target, self.expression())
        return ("expression", target, token.at)

    def is_command(self, after):
        """`name argument`, on one line and with space between"""
        if after.newline or not after.space:
            return False
        return (
            after.kind in ("string", "number")
            or after.kind == "word"
            and after.value not in WORD_OPERATORS
        )

    def word(self):
        if self.next.kind != "word" or self.next.value in RESERVED:
            self.error(f"a name expected, not {self.next.value!r}")
        return self.take().value

    def arguments(self, closer=None):
        """Arguments up to `closer`, or to the end of the line after the last comma"""
        plain, named = [], {}
        while not (closer and self.next.is_op(closer)):
            after = self.tokens[min(self.n + 1, len(self.tokens) - 1)]
            if self.next.kind == "word" and after.is_op(":"):
                name = self.word()
                self.op(":")
                named[name] = self.expression()
            else:
                plain.append(self.expression())
            if not self.accept(","):
                break
        return plain, named

    # -- expressions

    def expression(self):
        condition = self.binary(0)
        if self.next.newline:
            return condition
        if self.accept("?:"):
            return ("elvis", condition, self.expression())
        if self.accept("?"):
            yes = self.expression()
            self.op(":")
            return ("conditional", condition, yes, self.expression())
        return condition

    def binary(self, level):
        if level == len(BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.next.kind in ("op", "word") and self.next.value in BINARY[level] and not self.next.newline:
            operator = self.take().value
            left = ("binary", operator, left, self.binary(level + 1))
        return left

    def unary(self):
        if self.accept("!"):
            return ("not", self.unary())
        return self.postfix(self.primary())

    def primary(self):
        token = self.take()
        if token.kind == "number":
            return ("value", token.value)
        if token.kind == "string":
            if len(token.value) == 1:
                return ("value", token.value[0])
            parts = []
            for part in token.value:
                if isinstance(part, str):
                    parts.append(part)
                else:
                    inner = Parser(self.source, part)
                    parts.append(inner.expression())
                    if inner.next.kind != "end":
                        inner.error(f"{inner.next.value!r} does not belong into a ${{}}")
            return ("string", parts)
        if token.is_word("true", "false", "null"):
            return ("value", {"true": True, "false": False, "null": None}[token.value])
        if token.kind == "word" and token.value not in RESERVED:
            return ("name", token.value, token.at)
        if token.is_op("("):
            inner = self.expression()
            self.op(")")
            return inner
        if token.is_op("["):
            return self.list_or_map()
        if token.is_op("{"):
            self.n -= 1
            return self.closure()
        self.error(f"an expression expected, not {token.value!r}", token)

    def list_or_map(self):
        if self.accept(":"):
            self.op("]")
            return ("map", [])
        items, pairs = [], []
        while not self.next.is_op("]"):
            after = self.tokens[self.n + 1]
            if self.next.kind == "word" and after.is_op(":"):
                key = self.word()
                self.op(":")
                pairs.append((key, self.expression()))
            else:
                items.append(self.expression())
            if not self.accept(","):
                break
        self.op("]")
        if items and pairs:
            self.error("a list with names in it")
        return ("map", pairs) if pairs else ("list", items)

    def closure(self):
        self.op("{")
        start, names = self.n, []
        while self.next.kind == "word":
            names.append(self.take().value)
            if not self.accept(","):
                break
        if not self.accept("->"):
            self.n, names = start, []
        body = self.statements("}")
        self.op("}")
        return ("closure", names, body)

    def postfix(self, node):
        while True:
            token = self.next
            if token.is_op(".", "?."):  # also on a new line: a chain
                self.take()
                node = ("property", node, self.word(), token.value == "?.")
            elif token.is_op("(") and not token.newline and not token.space:
                self.take()
                plain, named = self.arguments(")")
                self.op(")")
                if self.next.is_op("{") and not self.next.newline:
                    plain.append(self.closure())
                node = ("call", node, plain, named)
            elif token.is_op("[") and not token.newline and not token.space:
                self.take()
                node = ("index", node, self.expression())
                self.op("]")
            elif token.is_op("{") and not token.newline and node[0] in ("name", "property"):
                node = ("call", node, [self.closure()], {})
            else:
                return node


# ---------------------------------------------------------------- values


class Scope:
    def __init__(self, values=None, parent=None):
        self.values, self.parent = values if values is not None else {}, parent

    def find(self, name):
        scope = self
        while scope:
            if name in scope.values:
                return scope
            scope = scope.parent
        return None

    def get(self, name):
        scope = self.find(name)
        if not scope:
            raise GroovyError(f"nothing is called {name}")
        return scope.values[name]


class Closure:
    def __init__(self, names, body, scope):
        self.names, self.body, self.scope = names, body, scope

    def __call__(self, *arguments):
        if len(self.names) > 1 and len(arguments) == 1 and isinstance(arguments[0], list):
            arguments = tuple(arguments[0])
        if self.names and len(arguments) != len(self.names):
            raise GroovyError(f"a closure of {', '.join(self.names)} got {len(arguments)} values")
        return run_block(self.body, Scope(dict(zip(self.names, arguments)), self.scope))


class File:
    """A path. In a task it is the name under which it was staged."""

    def __init__(self, path):
        self.path = str(path)

    def __eq__(self, other):
        return isinstance(other, File) and self.path == other.path

    def __hash__(self):
        return hash(self.path)

    def __repr__(self):
        return f"File({self.path!r})"


class Files(list):
    """Staged inputs: in a string they stand side by side"""


class Quantity:
    """4.GB, 2.h"""

    UNITS = {"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def __init__(self, number, unit):
        self.number, self.unit = number, unit


class StrictMap(dict):
    """A map in which a key that is not there is a mistake: params, meta, task"""


def true(value):
    if value is None or value is False or value == "" or value == 0 and not isinstance(value, bool):
        return False
    return not (isinstance(value, (list, dict)) and not value)


def text_of(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, File):
        return value.path
    if isinstance(value, Files):
        return " ".join(text_of(item) for item in value)
    raise GroovyError(f"{value!r} inside a string")


def call_each(items, function):
    return [function(item) for item in items]


def flat(items):
    found = []
    for item in items:
        found += item
    return found


STRING_METHODS = {
    "replace": lambda s, old, new: s.replace(old, new),
    "replaceFirst": lambda s, pattern, new: re.sub(pattern, new, s, count=1),
    "startsWith": lambda s, x: s.startswith(x),
    "endsWith": lambda s, x: s.endswith(x),
    "contains": lambda s, x: x in s,
    "tokenize": lambda s, x: [part for part in re.split(f"[{re.escape(x)}]", s) if part],
    "trim": lambda s: s.strip(),
}
LIST_METHODS = {
    "collect": lambda items, f: call_each(items, f),
    "collectMany": lambda items, f: flat(call_each(items, f)),
    "findAll": lambda items, f: [item for item in items if true(f(item))],
    "toSorted": lambda items, f: sorted(items, key=f),
    "join": lambda items, x: x.join(text_of(item) for item in items),
    "size": len,
}


def simple_name(path):
    return os.path.basename(path).split(".")[0]


FILE_PROPERTIES = {
    "name": lambda f: os.path.basename(f.path),
    "simpleName": lambda f: simple_name(f.path),
    "baseName": lambda f: os.path.splitext(os.path.basename(f.path))[0],
}
FILE_METHODS = {
    "exists": lambda f: os.path.exists(f.path),
    "mkdirs": lambda f: os.makedirs(f.path, exist_ok=True) or True,
}


def property_of(value, name):
    if isinstance(value, dict):
        if name not in value and isinstance(value, StrictMap):
            raise GroovyError(f"there is no {name} among {', '.join(value)}")
        return value.get(name)
    if isinstance(value, File) and name in FILE_PROPERTIES:
        return FILE_PROPERTIES[name](value)
    if isinstance(value, int) and not isinstance(value, bool) and name in Quantity.UNITS:
        return Quantity(value, name)
    if hasattr(value, "groovy_property"):
        return value.groovy_property(name)
    raise GroovyError(f"{value!r} has no property {name} here")


def method_of(value, name):
    """The method of that name, or None"""
    for kind, methods in ((str, STRING_METHODS), (list, LIST_METHODS), (File, FILE_METHODS)):
        if isinstance(value, kind):
            return methods.get(name) and (lambda *arguments: methods[name](value, *arguments))
    if hasattr(value, "groovy_method"):
        return value.groovy_method(name)
    return None


def binary(operator, left, right):
    if operator == "+":
        if isinstance(left, dict) and isinstance(right, dict):
            return type(left)({**left, **right})
        if isinstance(left, list) and isinstance(right, list):
            return left + right
        if isinstance(left, str):
            return left + text_of(right)
        if isinstance(left, int) and isinstance(right, int):
            return left + right
    elif operator == "-":
        if isinstance(left, dict) and isinstance(right, dict):
            return type(left)({k: v for k, v in left.items() if not (k in right and right[k] == v)})
        if isinstance(left, int) and isinstance(right, int):
            return left - right
    elif operator == "*":
        if isinstance(left, Quantity) and isinstance(right, int):
            return Quantity(left.number * right, left.unit)
        if isinstance(left, int) and isinstance(right, int):
            return left * right
    elif operator in ("==", "!="):
        return (left == right) == (operator == "==")
    elif operator in ("<", ">", "<=", ">="):
        if isinstance(left, int) and isinstance(right, int):
            return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[operator]
    elif operator == "in":
        if isinstance(right, (list, range)):
            return left in right
    elif operator == "..":
        if isinstance(left, int) and isinstance(right, int) and left <= right:
            return range(left, right + 1)
    raise GroovyError(f"{left!r} {operator} {right!r}")


def evaluate(node, scope):
    kind = node[0]
    if kind == "value":
        return node[1]
    if kind == "string":
        return "".join(part if isinstance(part, str) else text_of(evaluate(part, scope)) for part in node[1])
    if kind == "name":
        return scope.get(node[1])
    if kind == "list":
        return [evaluate(item, scope) for item in node[1]]
    if kind == "map":
        return {key: evaluate(item, scope) for key, item in node[1]}
    if kind == "closure":
        return Closure(node[1], node[2], scope)
    if kind == "not":
        return not true(evaluate(node[1], scope))
    if kind == "elvis":
        value = evaluate(node[1], scope)
        return value if true(value) else evaluate(node[2], scope)
    if kind == "conditional":
        return evaluate(node[2] if true(evaluate(node[1], scope)) else node[3], scope)
    if kind == "property":
        value = evaluate(node[1], scope)
        return None if value is None and node[3] else property_of(value, node[2])
    if kind == "index":
        value, index = evaluate(node[1], scope), evaluate(node[2], scope)
        if isinstance(value, list) and isinstance(index, int) and 0 <= index < len(value):
            return value[index]
        raise GroovyError(f"no [{index!r}] of {value!r}")
    if kind == "binary":
        if node[1] in ("&&", "||"):
            left = true(evaluate(node[2], scope))
            return left if left == (node[1] == "||") else true(evaluate(node[3], scope))
        if node[1] == "as":
            if node[3][:2] != ("name", "Integer"):
                raise GroovyError("as: only Integer")
            return int(evaluate(node[2], scope))
        return binary(node[1], evaluate(node[2], scope), evaluate(node[3], scope))
    if kind == "call":
        return evaluate_call(node, scope)
    raise GroovyError(f"a {kind} is no expression")


def evaluate_call(node, scope):
    target, arguments = node[1], [evaluate(item, scope) for item in node[2]]
    named = {name: evaluate(item, scope) for name, item in node[3].items()}
    if target[0] == "property":
        owner = evaluate(target[1], scope)
        function = method_of(owner, target[2])
        if not function:
            raise GroovyError(f"{type(owner).__name__} has no method {target[2]} here")
    elif target[0] == "name":
        function = scope.get(target[1])
    else:
        raise GroovyError("this cannot be called")
    if not callable(function):
        raise GroovyError(f"{target[1]} cannot be called")
    return function(*arguments, **named)


def run_block(statements, scope):
    """The value of the last statement"""
    value = None
    for statement in statements:
        kind = statement[0]
        if kind == "def":
            scope.values[statement[1]] = value = evaluate(statement[2], scope)
        elif kind == "assign":
            value = evaluate(statement[2], scope)
            target = statement[1]
            if target[0] != "name":
                raise GroovyError("only names are assigned to here")
            (scope.find(target[1]) or scope).values[target[1]] = value
        elif kind == "if":
            value = run_block(statement[2] if true(evaluate(statement[1], scope)) else statement[3], scope)
        elif kind == "expression":
            value = evaluate(statement[1], scope)
        else:
            raise GroovyError(f"a {kind} is no statement of a block")
    return value


# ---------------------------------------------------------------- .nf files


class Process:
    """A process as it is written: directives, inputs, outputs, and its two scripts"""

    SECTIONS = ("input", "output", "when", "script", "stub")

    def __init__(self, name, body, source):
        self.name, self.source = name, source
        self.directives, self.inputs, self.outputs = [], [], []
        self.sections, self.spans = {"directives": []}, {}
        section = "directives"
        for statement in body:
            if statement[0] == "label":
                if statement[1] not in self.SECTIONS or statement[1] in self.sections:
                    raise GroovyError(f"{name}: section {statement[1]} is unknown or there twice")
                section = statement[1]
                self.sections[section] = []
                self.spans[section] = (statement[2], statement[3])
            else:
                self.sections[section].append(statement)
        for statement in self.sections["directives"]:
            if statement[0] != "command" or len(statement[2]) != 1 or statement[3]:
                raise GroovyError(f"{name}: a directive is `name value`")
            self.directives.append((statement[1], statement[2][0]))
        self.inputs = [self.channel(statement) for statement in self.sections.get("input", [])]
        self.outputs = [self.channel(statement) for statement in self.sections.get("output", [])]
        for section in ("script", "stub"):
            if not self.sections.get(section):
                raise GroovyError(f"{name}: no {section}")

    def channel(self, statement):
        """(elements, options): elements are (qualifier, node, options)"""
        if statement[0] == "command" and statement[1] == "tuple":
            return [self.element(item) for item in statement[2]], statement[3]
        if statement[0] == "command" and len(statement[2]) == 1:
            return [self.element(("call", ("name", statement[1]), statement[2], {}))], statement[3]
        if statement[0] == "expression" and statement[1][0] == "call":
            return [self.element(statement[1])], {}
        raise GroovyError(f"{self.name}: an input or output is `tuple ...`, `path(...)` or `path ..., emit: ...`")

    def element(self, node):
        if node[0] != "call" or node[1][0] != "name" or len(node[2]) != 1:
            raise GroovyError(f"{self.name}: path(x), val(x) or eval(x) expected")
        if node[1][1] not in ("path", "val", "eval"):
            raise GroovyError(f"{self.name}: {node[1][1]} is not known here")
        return node[1][1], node[2][0], node[3]

    def text(self, section):
        """What stands in a section, as it was written"""
        start = self.spans[section][1]
        later = [at for at, _ in self.spans.values() if at > start]
        end = min(later) if later else self.source.text.rindex("}", 0, self.end)
        return self.source.text[start:end]


def dedent(script):
    """Groovy's stripIndent, then without blank lines around"""
    lines = script.split("\n")
    margins = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    margin = min(margins) if margins else 0
    return "\n".join(line[margin:] for line in lines).strip()


class Module:
    """A .nf file: includes, processes, workflows"""

    def __init__(self, path):
        self.path = os.path.realpath(path)
        with open(path, encoding="utf-8") as file:
            self.source = Source(file.read(), path)
        self.includes, self.processes, self.workflows = [], {}, {}
        parser = ModuleParser(self.source)
        for statement in parser.program():
            if statement[0] == "process":
                process = Process(statement[1], statement[2], self.source)
                process.end = statement[3]
                self.add(self.processes, process.name, process)
            elif statement[0] == "workflow":
                self.add(self.workflows, statement[1], statement[2])
            elif statement[0] == "include":
                self.includes.append(statement[1:])
            else:
                raise GroovyError(f"{path}: only include, process and workflow stand at the top")

    def add(self, where, name, what):
        if name in where:
            raise GroovyError(f"{self.path}: {name} is there twice")
        where[name] = what


class ModuleParser(Parser):
    def statement(self):
        token = self.next
        if token.is_word("process"):
            self.take()
            name = self.word()
            body = Parser(self.source, self.tokens)
            body.n = self.n
            found = body.block()
            self.n = body.n
            return ("process", name, found, self.tokens[self.n - 1].end)
        if token.is_word("workflow"):
            self.take()
            name = self.word() if self.next.kind == "word" else ""
            return ("workflow", name, self.block())
        if token.is_word("include"):
            self.take()
            self.op("{")
            name = self.word()
            self.op("}")
            if not self.next.is_word("from"):
                self.error("include { NAME } from 'FILE'")
            self.take()
            path = self.primary()
            if path[0] != "value" or not str(path[1]).startswith("./") and not str(path[1]).startswith("/"):
                self.error("include: a path that starts with ./")
            return ("include", name, path[1])
        return super().statement()


def literal(node):
    """The text of an output's pattern, with the ${} as they stand, for comparisons with meta.yml"""
    if node[0] == "value":
        return str(node[1])
    if node[0] == "string":
        return "".join(part if isinstance(part, str) else "${" + spelled(part) + "}" for part in node[1])
    if node[0] == "name":
        return node[1]
    raise GroovyError(f"cannot spell {node}")


def spelled(node):
    if node[0] == "name":
        return node[1]
    if node[0] == "property":
        return f"{spelled(node[1])}.{node[2]}"
    raise GroovyError(f"cannot spell {node}")


def names_in(node):
    """Every name that stands in a node or in a list of statements"""
    found = set()
    if isinstance(node, tuple) and node and node[0] == "name":
        found.add(node[1])
    if isinstance(node, (tuple, list)):
        for item in node:
            found |= names_in(item)
    if isinstance(node, dict):
        for item in node.values():
            found |= names_in(item)
    return found


# ---------------------------------------------------------------- .config files


class Config:
    """nextflow.config: values by dotted name, and selectors of processes in the order they stand"""

    def __init__(self, variables):
        self.values, self.selectors, self.params = {}, [], StrictMap()
        self.command_line = {}
        self.scope = Scope({**variables, "params": self.params})

    def read(self, path, profiles=()):
        with open(path, encoding="utf-8") as file:
            statements = Parser(Source(file.read(), path)).program()
        self.block(statements, [], profiles)

    def block(self, statements, prefix, profiles):
        for statement in statements:
            kind = statement[0]
            if kind == "assign":
                self.assign(prefix + spelled(statement[1]).split("."), statement[2])
            elif kind == "selector" and prefix[-1:] == ["process"]:
                pattern = evaluate(statement[2], self.scope)
                if statement[1] not in ("withName", "withLabel"):
                    raise GroovyError(f"no selector {statement[1]}")
                settings = {}
                for inner in statement[3][2]:
                    if inner[0] != "assign":
                        raise GroovyError(f"{pattern}: only assignments")
                    settings[spelled(inner[1])] = evaluate(inner[2], self.scope)
                self.selectors.append((statement[1], pattern, settings))
            elif kind == "expression" and statement[1][0] == "call" and statement[1][1][0] == "name":
                name, arguments = statement[1][1][1], statement[1][2]
                if len(arguments) != 1 or arguments[0][0] != "closure":
                    raise GroovyError(f"config: {name} takes a block")
                if name == "profiles" and not prefix:
                    self.profiles(arguments[0][2], profiles)
                else:
                    self.block(arguments[0][2], prefix + [name], profiles)
            else:
                raise GroovyError(f"config: a {kind} under {'.'.join(prefix) or 'the top'}")

    def profiles(self, statements, chosen):
        known = {}
        for statement in statements:
            if statement[0] != "expression" or statement[1][0] != "call":
                raise GroovyError("profiles: name { }")
            known[statement[1][1][1]] = statement[1][2][0][2]
        for name in chosen:
            if name not in known:
                raise GroovyError(f"no profile {name}")
        for name, body in known.items():
            if name in chosen:
                self.block(body, [], ())
            else:
                Config.dry(body, self.scope)

    @staticmethod
    def dry(body, scope):
        """A profile that is not chosen is still evaluated, to no effect"""
        other = Config({})
        other.scope = scope
        other.params = StrictMap()
        other.block(body, [], ())

    def assign(self, path, node):
        value = evaluate(node, self.scope)
        if path[0] == "params":
            self.params[path[1]] = self.command_line.get(path[1], value)
        else:
            self.values[".".join(path)] = value

    def of_process(self, name, full_name, labels):
        """What the configuration says about a process: its defaults, then labels, then names"""
        found = {}
        for key, value in self.values.items():
            if key.startswith("process."):
                found[key[len("process.") :]] = value
        for wanted in ("withLabel", "withName"):
            for kind, pattern, settings in self.selectors:
                if kind != wanted:
                    continue
                subjects = labels if kind == "withLabel" else [name, full_name]
                if any(re.fullmatch(pattern, subject) for subject in subjects):
                    found.update(settings)
        return found

    def environment(self):
        return {key[4:]: text_of(value) for key, value in self.values.items() if key.startswith("env.")}
