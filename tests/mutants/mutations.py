"""Every small mistake that a module could have had, one at a time."""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
_LEFT_ALONE = {"annotation", "returns", "decorator_list", "bases", "keywords of a class", "type_params"}
_SHOWN = 30
"""A mutation is shown with as much around it as makes this many characters."""


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    Attributes:
        module: The file, from the package's folder.
        line: Where it is.
        name: What says which one it is, whatever the line: module, function, and the code before and after.
        text: Returns the module's whole text with it.
    """

    module: str
    line: int
    name: str
    text: Callable[[], str]


def mutations(module: str, text: str) -> Iterator[Mutation]:
    """Make every mutation of a module, one by one.

    Args:
        module: The file, from the package's folder.
        text: What is in it.
    """
    tree = ast.parse(text)
    yield from _within(module, tree, tree, (), "")


def _within(
    module: str, tree: ast.Module, node: ast.AST, above: tuple[tuple[ast.AST, str, int | None], ...], function: str
) -> Iterator[Mutation]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}" if function else node.name
    for variant in _variants(node):
        if above and isinstance(above[-1][0], ast.Subscript) and ast.unparse(variant) == "-1":
            continue  # of a pair, that is what 1 is
        yield _made(module, tree, node, variant, above, function)
    for field, value in ast.iter_fields(node):
        if field in _LEFT_ALONE or (field == "keywords" and isinstance(node, ast.ClassDef)):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "strict"):
                place = (node, field, index if isinstance(value, list) else None)
                yield from _within(module, tree, child, (*above, place), function)


def _changed(node: ast.AST, **fields: Any) -> ast.AST:
    """Return a copy of a node with other fields."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """Make what could stand by mistake in the place of a node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield from map(ast.Constant, _other_constants(node.value))
    elif isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                ops = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield _changed(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.If | ast.While):
        for value in (False,) if isinstance(node, ast.While) else (False, True):
            yield _changed(node, test=ast.Constant(value))
    elif isinstance(node, ast.comprehension):
        for index in range(len(node.ifs)):
            yield _changed(node, ifs=[*node.ifs[:index], *node.ifs[index + 1 :]])
    elif isinstance(node, ast.Return) and node.value and not _is_none(node.value):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Raise | ast.Continue | ast.Break) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await)
    ):
        yield ast.Pass()


def _other_constants(value: float) -> list[float]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [value * 2, value / 2] if value else [1.0]


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _made(
    module: str,
    tree: ast.Module,
    node: ast.AST,
    variant: ast.AST,
    above: tuple[tuple[ast.AST, str, int | None], ...],
    function: str,
) -> Mutation:
    shown: ast.AST = node
    for parent, _, _ in reversed(above):
        if len(_header(shown)) >= _SHOWN or isinstance(shown, ast.stmt) or isinstance(parent, ast.Module):
            break
        shown = parent
    line = next(one.lineno for one in (node, *(place[0] for place in reversed(above))) if hasattr(one, "lineno"))
    parent, field, index = above[-1]
    before = _header(shown)
    after = _with(variant, node, above[-1], lambda: _header(variant if shown is node else shown))
    text = partial(_with, variant, node, above[-1], lambda: ast.unparse(ast.fix_missing_locations(tree)))
    return Mutation(module, line, f"{module} {function}: {before} → {after}".replace(" :", ":", 1), text)


def _with(variant: ast.AST, node: ast.AST, place: tuple[ast.AST, str, int | None], written: Callable[[], str]) -> str:
    """Return what is written while a variant stands in the place of a node."""
    parent, field, index = place
    _put(parent, field, index, variant)
    try:
        return written()
    finally:
        _put(parent, field, index, node)


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _header(node: ast.AST) -> str:
    """Return the code of a node, in one line, without what is indented below it."""
    if hasattr(node, "body") and isinstance(node, ast.stmt):
        node = copy.copy(node)
        node.body = []  # type: ignore[attr-defined]
        for rest in ("orelse", "finalbody"):
            if hasattr(node, rest):
                setattr(node, rest, [])
    return " ".join(ast.unparse(node).split())
