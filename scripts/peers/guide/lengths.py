"""Count the lines of each guide script next to the same job in another simulator.

A line counts unless it is blank, a comment or part of a docstring. All scripts are formatted by
`ruff format` at 100 columns.
"""

import ast
import io
import tokenize
from pathlib import Path

HERE = Path(__file__).parent
GUIDE = HERE.parents[2] / "docs" / "guide"
VERSIONS = {
    "nest": "NEST 3.10.0",
    "brian2": "Brian2 2.9.0",
    "norse": "Norse 1.1.0",
    "snntorch": "snnTorch 1.0.0",
}
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def lines(path: Path) -> int:
    """The number of lines of a script that hold code."""
    source = path.read_text()
    holds = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT and token.string:
            holds |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            holds -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(holds)


def table() -> list[tuple[str, int, int, str]]:
    """Of each job: its name, our lines, the peer's lines and the peer with its version."""
    rows = []
    for path in sorted(HERE.glob("*_*.py")):
        job, _, peer = path.stem.rpartition("_")
        rows.append((job, lines(GUIDE / f"{job}.py"), lines(path), VERSIONS[peer]))
    return rows


if __name__ == "__main__":
    print("| script | lines | the same in | lines |\n|---|---|---|---|")
    for job, ours, theirs, peer in table():
        print(f"| `{job}.py` | {ours} | {peer} | {theirs} |")
