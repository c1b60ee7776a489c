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
    """Another text of a file: what kind of change, in which function or class, at which line."""

    kind: str
    where: str
    line: int
    text: bytes


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

    def replaced(self, begin: int, end: int, new: bytes) -> bytes | None:
        """The text with another middle, None if that is no Python or no change."""
        text = self.text[:begin] + new + self.text[end:]
        try:
            if ast.dump(ast.parse(text)) == ast.dump(self.tree):
                return None
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
    found = []
    for name, function in source.functions():
        if all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in function.body):
            continue  # a docstring or an ellipsis alone
        for statement in function.body:
            for node in ast.walk(statement):
                found += [
                    Mutation(kind, name, getattr(node, "lineno", 0), text)
                    for kind, begin, end, new in _changes(source, node)
                    if (text := source.replaced(begin, end, new)) is not None
                ]
    return found


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
            new = b"None" if source.text[slice(*source.span(default))] != b"None" else b"1"
            found.append(_at(source, "default", name, default, new))
        for decorator in function.decorator_list:
            begin, end = source.span(decorator)
            at = source.text.rindex(b"@", 0, begin)
            text = source.replaced(at, end, b"")
            found.append(None if text is None else Mutation("decorator", name, decorator.lineno, text))
        first = function.body[0]
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and ast.get_docstring(function)
        ):
            found.append(_at(source, "docstring", name, first, b'"""Another docstring."""'))
        top = min([function.lineno, *(d.lineno for d in function.decorator_list)])
        for kind, line in (("line above", b"\n"), ("comment", b"# a comment\n")):
            begin = source.starts[top - 1]
            indent = source.text[begin:].split(b"@" if function.decorator_list else b"def")[0]
            text = source.text[:begin] + (line if line == b"\n" else indent.split(b"a")[0] + line)
            found.append(_checked(Mutation(kind, name, top, text + source.text[begin:])))
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            for _, begin, end, new in _changes(source, statement.value):
                text = source.replaced(begin, end, new)
                where = ast.unparse(statement.targets[0])
                if text is not None:
                    found.append(Mutation("constant", where, statement.lineno, text))
    return [*(mutation for mutation in found if mutation is not None), *_overrides(source)]


def _at(source: Source, kind: str, name: str, node: ast.expr | ast.stmt, new: bytes) -> Mutation | None:
    text = source.replaced(*source.span(node), new)
    return None if text is None else Mutation(kind, name, node.lineno, text)


def _checked(mutation: Mutation) -> Mutation | None:
    try:
        ast.parse(mutation.text)
    except (SyntaxError, ValueError):
        return None
    return mutation


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
                    text = source.replaced(end, end, new)
                    if text is not None:
                        yield Mutation("override", f"{node.name}.{method.name}", node.lineno, text)
