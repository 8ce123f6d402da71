"""Small mistakes that could be made in a module, one at a time, as edits of its text.

Not made, since no number hangs on them: mistakes in messages of errors, annotations, documentation, decorators,
`strict=` and the like.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARISONS = {
    "<": ("<=", ">"),
    "<=": ("<", ">"),
    ">": (">=", "<"),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "is": ("is not",),
    "is not": ("is",),
    "in": ("not in",),
    "not in": ("in",),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.MatMult: ("@", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
}
SYMBOLS = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _swaps(text: str) -> dict[str, str]:
    """`a/b c/d`: each for the other."""
    pairs = [pair.split("/") for pair in text.split()]
    return {x: y for a, b in pairs for x, y in ((a, b), (b, a))}


# `x.name()` -> `x`
METHODS = _words(
    "eval train detach mean sum sqrt abs double float long clone cumsum softmax flip transpose squeeze strip lower "
    "exists copy backward expand sort requires_grad_ argmax normpath item tolist rstrip lstrip round"
)
# `name(x)` -> `x`
FUNCTIONS = _words("sorted reversed abs round set sum int bool composed deepcopy normpath")
NAMES = _swaps("min/max any/all zeros_/ones_")
ATTRIBUTES = _swaps(
    "start/stop low/high argmax/argmin norm1/norm2 ls1/ls2 B/T sin/cos ceil/floor train/test min/max any/all "
    "temporal/spatial maximum/minimum zeros/ones"
) | {"validation": "test"}
SILENT_KEYWORDS = _words("strict description non_blocking compare repr encoding fused pin_memory")
SILENT_CALLS = _words("TypeVar cast UserError ConfigDict unknown_name")
Span = tuple[int, int]  # bytes of the source


@dataclass(frozen=True)
class Mutant:
    """A mistake: where it is, what was there, what stands there now, and the text of the whole module with it."""

    module: str
    line: int
    kind: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """Stays as long as the lines that it changes, and how often they occur before it."""
        return f"{self.module}: `{self.before}` -> `{self.after}`"

    @property
    def id(self) -> str:
        """Stays as long as the module does."""
        return hashlib.sha256(f"{self.module}\0{self.source}".encode()).hexdigest()[:16]


def mutants_of(module: str, text: str) -> list[Mutant]:
    """Every mistake that is made in a module, in the order of its lines; each compiles and changes its code."""
    source = _Source(text)
    out: dict[str, Mutant] = {}
    for kind, (start, end), new in sorted(_edits(source, ast.parse(text)), key=lambda edit: edit[1]):
        changed = (source.data[:start] + new.encode() + source.data[end:]).decode()
        if changed == text:
            continue
        try:
            compile(changed, module, "exec", dont_inherit=True)
        except SyntaxError:
            continue
        line = source.data.count(b"\n", 0, start) + 1
        out.setdefault(changed, Mutant(module, line, kind, *_lines(text, changed), changed))
    return list(out.values())


def _lines(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, on one line each."""
    old, new = before.splitlines(), after.splitlines()
    first = next(i for i, (a, b) in enumerate(zip([*old, ""], [*new, ""], strict=False)) if a != b)
    most = min(len(old), len(new)) - first
    same = next((n for n in range(most) if old[-1 - n] != new[-1 - n]), most)
    gone, come = (" ".join(line.strip() for line in text[first : len(text) - same]) for text in (old, new))
    return gone, come


class _Source:
    """A text in which nodes are found by their bytes, as `ast` counts them."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: Any) -> Span:
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node: Any) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def symbol(self, left: ast.AST, right: ast.AST, symbol: str) -> Span:
        """Where an operator stands between its operands."""
        between = self.data[self.span(left)[1] : self.span(right)[0]]
        start = self.span(left)[1] + between.index(symbol.encode())
        return start, start + len(symbol)


Edit = tuple[str, Span, str]


def _edits(source: _Source, node: ast.AST, inside: bool = False) -> Iterator[Edit]:
    """Edits of a node and all below it; `inside` a function."""
    inside = inside or isinstance(node, ast.FunctionDef | ast.Lambda)
    if isinstance(node, ast.stmt):
        yield from _of_statement(source, node, inside)
    if isinstance(node, ast.expr):
        yield from _of_expression(source, node, inside)
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield "condition dropped", source.span(test), "True"
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _silent(child):
                yield from _edits(source, child, inside)


def _silent(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)  # documentation
    if isinstance(node, ast.keyword):
        return node.arg in SILENT_KEYWORDS
    return isinstance(node, ast.Call) and _name(node.func) in SILENT_CALLS


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _of_statement(source: _Source, node: ast.stmt, inside: bool) -> Iterator[Edit]:
    span = source.span(node)
    if isinstance(node, ast.Continue | ast.Break | ast.Raise):
        yield "statement dropped", span, "pass"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call dropped", span, "pass"
    elif isinstance(node, ast.AugAssign):
        yield "statement dropped", span, "pass"
        if type(node.op) in ARITHMETIC:
            old, new = ARITHMETIC[type(node.op)]
            yield "arithmetic", source.symbol(node.target, node.value, f"{old}="), f"{new}="
    elif isinstance(node, ast.Assign) and inside:
        names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        again = any(isinstance(t, ast.Name) and t.id in names for t in node.targets)
        if again or any(isinstance(t, ast.Subscript) for t in node.targets):
            yield "assignment dropped", span, "pass"
    elif isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Compare):
        yield from _negated(source, node.test)


def _negated(source: _Source, test: ast.expr) -> Iterator[Edit]:
    if not isinstance(test, ast.UnaryOp):
        yield "condition negated", source.span(test), f"not ({source.text(test)})"


def _of_expression(source: _Source, node: ast.expr, inside: bool) -> Iterator[Edit]:
    span = source.span(node)
    if isinstance(node, ast.Compare):
        for op, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
            old = SYMBOLS[type(op)]
            for new in COMPARISONS[old]:
                yield "comparison", source.symbol(left, right, old), new
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not _of_types(node) and not any(map(_is_text, ast.walk(node))):
            old, new = ARITHMETIC[type(node.op)]
            yield "arithmetic", source.symbol(node.left, node.right, old), new
            if not isinstance(node.op, ast.BitOr | ast.BitAnd):
                yield "operand dropped", span, f"({source.text(node.left)})"
                yield "operand dropped", span, f"({source.text(node.right)})"
    elif isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield "and/or", source.symbol(left, right, old), new
        for value in node.values:
            if not isinstance(value, ast.NamedExpr):
                others = [source.text(v) for v in node.values if v is not value]
                yield "condition dropped", span, f"({f' {old} '.join(f'({o})' for o in others)})"
    elif isinstance(node, ast.UnaryOp):
        yield from _of_sign(source, node)
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node.value, span)
    elif isinstance(node, ast.IfExp):
        parts = (source.text(part) for part in (node.orelse, node.test, node.body))
        yield "branches swapped", span, "({}) if ({}) else ({})".format(*parts)
        yield from _negated(source, node.test)
    elif isinstance(node, ast.Slice):
        for end in (node.lower, node.upper, node.step):
            if end is not None:
                yield "slice", source.span(end), ""
    elif isinstance(node, ast.Name) and node.id in NAMES:
        yield "name", span, NAMES[node.id]
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES and isinstance(node.ctx, ast.Load):
        yield "attribute", (span[1] - len(node.attr), span[1]), ATTRIBUTES[node.attr]
    elif isinstance(node, ast.Call):
        yield from _of_call(source, node, span)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _of_types(node: ast.BinOp) -> bool:
    """`int | None` and the like."""
    sides = [source for source in ast.walk(node) if isinstance(source, ast.Name | ast.Constant)]
    return isinstance(node.op, ast.BitOr) and any(
        (isinstance(s, ast.Constant) and s.value is None)
        or (isinstance(s, ast.Name) and (s.id in ("int", "float", "str", "bool") or s.id[:1].isupper()))
        for s in sides
    )


def _of_sign(source: _Source, node: ast.UnaryOp) -> Iterator[Edit]:
    span, operand = source.span(node), source.text(node.operand)
    if isinstance(node.op, ast.Not):
        yield "not dropped", span, f"({operand})"
    elif isinstance(node.op, ast.USub):
        yield "sign", span, operand if isinstance(node.operand, ast.Constant) else f"({operand})"


def _of_constant(value: object, span: Span) -> Iterator[Edit]:
    if isinstance(value, bool):
        yield "constant", span, str(not value)
    elif isinstance(value, int):
        yield "constant", span, str(value + 1)
        if value > 0:
            yield "constant", span, str(value - 1)
    elif isinstance(value, float):
        yield "constant", span, repr(value * 2 if value else 1.0)


def _of_call(source: _Source, node: ast.Call, span: Span) -> Iterator[Edit]:
    called, texts = source.text(node.func), [source.text(arg) for arg in node.args]
    keywords = [source.text(k) for k in node.keywords]
    for keyword in node.keywords:
        if keyword.arg and keyword.arg not in SILENT_KEYWORDS:
            others = [k for k in keywords if k != source.text(keyword)]
            yield "keyword dropped", span, f"{called}({', '.join([*texts, *others])})"
    if len(texts) > 1 and not any(isinstance(arg, ast.Starred) for arg in node.args):
        if _is_text(node.args[0]) == _is_text(node.args[1]):
            swapped = [texts[1], texts[0], *texts[2:], *keywords]
            yield "arguments swapped", span, f"{called}({', '.join(swapped)})"
        own = _name(node.func)
        if not own.startswith("_") and not own[:1].isupper():  # of the module's own functions all are needed
            yield "argument dropped", span, f"{called}({', '.join([*texts[:-1], *keywords])})"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in (
            "math",
            "torch",
            "np",
            "F",
        )
        if not of_module or texts:
            yield "method dropped", span, f"({texts[0]})" if of_module else source.text(node.func.value)
    elif (
        isinstance(node.func, ast.Attribute)
        and len(texts) == 1
        and not keywords
        and not _is_text(node.args[0])
    ):
        yield "call unwrapped", span, f"({texts[0]})"  # such as `block.ls1(x)` -> `x`
    elif isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and texts:
        yield "function dropped", span, f"({texts[0]})"
