"""Mutations of Python source: one small change each, found in the syntax tree and made in the text.

The text outside of the change stays byte for byte, so that an edit of a body is that and nothing else.
Columns of the syntax tree count bytes, and so does everything here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and",
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """What kind of change, in which function or class, at which line; `new` takes the place of the bytes from
    `begin` to `end`. Whether the text is Python then shows only when it is made."""

    kind: str
    where: str
    line: int
    begin: int
    end: int
    new: bytes


class Source:
    """A file with its syntax tree; SyntaxError if it has none."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends, in bytes."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def made(self, mutation: Mutation) -> bytes | None:
        """The text with the mutation, None if that is no Python."""
        text = self.text[: mutation.begin] + mutation.new + self.text[mutation.end :]
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            return None
        return text

    def functions(self) -> list[tuple[str, Function]]:
        """All functions that are not inside of another, with their dotted names."""
        return list(_functions(self.tree, ""))


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _functions(child, prefix)


def bodies(source: Source) -> list[Mutation]:
    """Changes of function bodies: of what is returned, of an operator, of a constant, a statement less."""
    return [
        Mutation(kind, name, getattr(node, "lineno", 0), begin, end, new)
        for name, function in source.functions()
        for statement in function.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))  # a docstring
        for node in ast.walk(statement)
        for kind, begin, end, new in _changes(source, node)
    ]


def _changes(source: Source, node: ast.AST) -> Iterator[tuple[str, int, int, bytes]]:
    if isinstance(node, ast.Return) and node.value is not None:
        begin, end = source.span(node.value)
        none = isinstance(node.value, ast.Constant) and node.value.value is None
        yield "body return", begin, end, b"0" if none else b"None"
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        yield "body operator", *_between(source, node.left, node.right, _OPERATORS[type(node.op)])
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        new = _OPERATORS[type(node.ops[0])]
        yield "body operator", *_between(source, node.left, node.comparators[0], new)
    elif isinstance(node, ast.BoolOp):
        yield "body operator", *_between(source, node.values[0], node.values[1], _OPERATORS[type(node.op)])
    elif isinstance(node, ast.Constant) and not isinstance(node.value, bytes):
        begin, end = source.span(node)
        if isinstance(node.value, bool):
            yield "body constant", begin, end, str(not node.value).encode()
        elif isinstance(node.value, int):
            yield "body constant", begin, end, str(node.value + 1).encode()
        elif isinstance(node.value, str) and source.text[begin : begin + 1] in (b"'", b'"'):
            yield "body constant", begin, end, repr(node.value + "~").encode()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        begin, end = source.span(node)
        yield "body statement", begin, end, b"pass"


def _between(source: Source, left: ast.expr, right: ast.expr, new: str) -> tuple[int, int, bytes]:
    """The operator between two operands, with what else stands there: brackets stay with their operands."""
    begin, end = source.span(left)[1], source.span(right)[0]
    middle = source.text[begin:end]
    before = len(middle) - len(middle.lstrip(b" )\n\\"))
    after = len(middle) - len(middle.rstrip(b" (\n\\"))
    return begin + before, end - after, new.encode()


def declarations(source: Source) -> list[Mutation]:
    """Changes around bodies: a default, a decorator less, a constant of the module, a docstring, a line
    above a function, a comment, a method that now overrides the one of a base class."""
    found = []
    for name, function in source.functions():
        for default in function.args.defaults:
            begin, end = source.span(default)
            new = b"1" if source.text[begin:end] == b"None" else b"None"
            found.append(Mutation("default", name, default.lineno, begin, end, new))
        for decorator in function.decorator_list:
            begin, end = source.span(decorator)
            at = source.text.rindex(b"@", 0, begin)
            found.append(Mutation("decorator", name, decorator.lineno, at, end, b""))
        first = function.body[0]
        if ast.get_docstring(function):
            new = b'"""Another docstring."""'
            found.append(Mutation("docstring", name, first.lineno, *source.span(first), new))
        top = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        begin = source.starts[top - 1]
        comment = b" " * function.col_offset + b"# a comment\n"
        found.append(Mutation("line above", name, top, begin, begin, b"\n"))
        found.append(Mutation("comment", name, top, begin, begin, comment))
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            where = ast.unparse(statement.targets[0])
            for _, begin, end, new in _changes(source, statement.value):
                found.append(Mutation("constant", where, statement.lineno, begin, end, new))
    return [*found, *_overrides(source)]


def _overrides(source: Source) -> Iterator[Mutation]:
    """For each class with a base in the same file: a method of the base, now in the class too."""
    classes = {node.name: node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        own = {item.name for item in node.body if isinstance(item, Function)}
        for base in node.bases:
            above = classes.get(base.id) if isinstance(base, ast.Name) else None
            for method in above.body if above is not None else []:
                if (
                    isinstance(method, ast.FunctionDef)
                    and method.name not in own
                    and not method.decorator_list
                ):
                    last = node.body[-1]
                    end = source.span(last)[1]
                    indent = b" " * node.body[0].col_offset
                    new = b"\n\n" + indent + f"def {method.name}(self, *args, **kwargs):\n".encode()
                    new += indent + b"    raise RuntimeError('overridden by an edit')\n"
                    yield Mutation("override", f"{node.name}.{method.name}", node.lineno, end, end, new)
