"""The registry of methods: one file in `methods/` is one method, third parties come in by entry points."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, resources
from typing import TYPE_CHECKING

from petl_bench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from petl_bench.method import Method

GROUP = "petl_bench.methods"


def builtin_names() -> list[str]:
    folder = resources.files("petl_bench").joinpath("methods")
    return sorted(
        p.name[:-3] for p in folder.iterdir() if p.name.endswith(".py") and not p.name.startswith("_")
    )


def plugins() -> dict[str, metadata.EntryPoint]:
    """Entry points of installed packages, by name. Raises UserError for one that takes a built-in's name."""
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an unknown package"
        if point.name in builtin_names() or point.name in found:
            raise UserError(
                f"The method {point.name!r} of {package} takes a name that is in use: rename the entry point."
            )
        found[point.name] = point
    return found


def method_names() -> list[str]:
    """All names, without importing any method (nor torch)."""
    return sorted([*builtin_names(), *plugins()])


def find_method(name: str) -> type[Method]:
    """The class of a method. Raises UserError for unknown names, and for files that cannot be imported or are without
    one method."""
    from petl_bench.method import Method

    if name in builtin_names():
        with _importing(f"methods/{name}.py"):
            module = importlib.import_module(f"petl_bench.methods.{name}")
    elif name in (points := plugins()):
        with _importing(f"The method {name!r} ({points[name].value})"):
            loaded = points[name].load()
        if inspect.isclass(loaded) and issubclass(loaded, Method):
            return loaded
        module = loaded
    else:
        raise unknown_name("method", name, method_names())
    own = [
        c
        for c in vars(module).values()
        if inspect.isclass(c)
        and issubclass(c, Method)
        and c.__module__ == module.__name__
        and not inspect.isabstract(c)
    ]
    if len(own) != 1:
        raise UserError(f"{module.__file__}: expected one subclass of Method, found {len(own)}.")
    return own[0]


@contextmanager
def _importing(what: str) -> Iterator[None]:
    """An author's file can fail in any way when it is imported: UserError with the line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SyntaxError):
            text, line = error.msg, error.lineno
        else:
            text, line = (
                f"{type(error).__name__}: {error}",
                traceback.extract_tb(error.__traceback__)[-1].lineno,
            )
        raise UserError(f"{what} cannot be imported: {text} (line {line}).") from error
