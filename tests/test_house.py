"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "cerebellum"
FLOORS = {
    "errors": 0,
    "xla": 0,
    "compiled": 0,
    "documented": 0,
    "files": 0,
    "parts": 0,
    "program": 0,
    "system": 0,
    "config": 0,
    "model": 1,
    "backends": 2,
    "sim": 3,
    "plot": 4,
    "io": 4,
    "analysis": 4,
    "extend": 5,
    "learn": 4,
    "configure": 4,
    "store": 5,
    "service": 6,
    "bench": 6,
    "reproduce": 6,
    "cli": 7,
}


def floor_of(module: str) -> int | None:
    """Floor of a dotted module of ours, None for others and for the public face."""
    parts = module.split(".")
    if parts[0] != "cerebellum" or len(parts) == 1:
        return None
    return FLOORS[parts[1]]


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] == "cerebellum"}


def upward(path: Path, package: Path = PACKAGE) -> list[str]:
    """Imports of a file that go up the floors."""
    module = ".".join(("cerebellum", *path.relative_to(package).with_suffix("").parts))
    own = floor_of(module)
    assert own is not None
    above = []
    for name in sorted(imports(path)):
        try:
            other = floor_of(name)
        except KeyError:
            continue
        if other is not None and other > own:
            above.append(f"{module} imports {name}")
    return above


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_imports_go_down_only(path):
    if path == PACKAGE / "__init__.py":
        return
    assert not upward(path)


def test_an_upward_import_is_found(tmp_path):
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "bad.py"
    path.write_text("def f():\n    from cerebellum.sim import drive\n")
    assert upward(path, tmp_path) == [
        "cerebellum.model.bad imports cerebellum.sim",
        "cerebellum.model.bad imports cerebellum.sim.drive",
    ]


def test_every_module_has_a_docstring():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), path


def modules() -> dict[str, set[str]]:
    """Every module of ours, and those that it imports, also for type checkers alone.

    A package is imported where one of its own names is, not where one of its modules is.
    """
    paths = {
        ".".join(("cerebellum", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in PACKAGE.rglob("*.py")
    }
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    del paths["cerebellum"]
    found = {}
    for name, path in paths.items():
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{each.name}" for each in node.names}
                inside = whole & paths.keys()
                wanted |= inside | ({node.module} if whole - inside else set())
        found[name] = wanted & paths.keys() - {name}
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which imports, by way of the others, itself."""

    def reached(start: str) -> set[str]:
        found, ahead = set(), set(graph[start])
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead |= graph[name]
        return found

    reach = {name: reached(name) for name in graph}
    found = []
    for name, others in reach.items():
        circle = {other for other in others if name in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_imports_go_in_no_circle():
    assert circles(modules()) == []


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert circles(graph) == [{"b", "c"}]


def test_nothing_heavy_is_loaded_for_help():
    code = (
        "import sys, cerebellum.cli.main as cli; cli.parser().format_help(); "
        "print(*(m for m in ('jax', 'numpy', 'rich', 'matplotlib') if m in sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_the_public_face_is_complete():
    import cerebellum as cb

    for name in cb.__all__:
        assert getattr(cb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'cerebrum'"):
        cb.__getattr__("cerebrum")
