"""The fields of a record in its `help()`: they are documented once, below each in the source."""

import ast
import inspect
import textwrap
from typing import TypeVar

Class = TypeVar("Class", bound=type)


def documented(record: Class) -> Class:
    """Add the fields of a dataclass, each with the text below it, to the text of the class.

    The source is read when the text is first asked for.
    """
    record.__doc__ = _Text(record.__doc__ or "")  # pyright: ignore[reportAttributeAccessIssue]
    return record


class _Text:
    """A class's `__doc__` that is put together when it is read."""

    def __init__(self, summary: str):
        self.summary = summary
        self.whole: str | None = None

    def __get__(self, instance: object, owner: type) -> str:
        if self.whole is None:
            self.whole = _with_fields(owner, self.summary)
        return self.whole


def _with_fields(record: type, summary: str) -> str:
    """The text of a class followed by its fields; without them where there is no source."""
    try:
        source = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    except (OSError, TypeError, SyntaxError):
        return summary
    assert isinstance(source, ast.ClassDef)
    lines = []
    for field, below in zip(source.body, [*source.body[1:], ast.Pass()], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if ast.unparse(field.annotation) == "KW_ONLY":
            continue
        kind = f"{field.target.id}: {ast.unparse(field.annotation)}"
        default = field.value
        if isinstance(default, ast.Call):
            given = {each.arg: each.value for each in default.keywords}
            default = given.get("default")
        kind += "" if default is None else f" = {ast.unparse(default)}"
        lines.append(f"  {kind}")
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            lines.append(textwrap.indent(inspect.cleandoc(str(below.value.value)), "      "))
    if not lines:
        return summary
    return "\n".join([inspect.cleandoc(summary), "", "Fields:", *lines])
