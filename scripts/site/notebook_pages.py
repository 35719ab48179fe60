"""Notebooks with their outputs: run when the site is built, or, long ones, by hand.

    python scripts/site/notebook_pages.py 03_teach_it_to_blink

runs a notebook and writes it with its outputs to notebooks/executed, which is committed. The site
takes it from there, and is not built if the notebook was edited since.
"""

import base64
import hashlib
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from examples import CACHE, ROOT, digest
from nbclient import NotebookClient

SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
KEPT = ROOT / "notebooks/executed"


def source_of(book: nbformat.NotebookNode) -> str:
    """The text of all cells."""
    return "\n\n".join(f"{cell.cell_type}\n{cell.source}" for cell in book.cells)


def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook with its outputs.

    Raises:
      RuntimeError: a cell wrote to standard error.
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    book = nbformat.read(path, as_version=4)
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    resources = {"metadata": {"path": str(CACHE)}}
    client = NotebookClient(book, timeout=900, kernel_name="python3", resources=resources)
    client.execute(env=environment)
    for cell in book.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise RuntimeError(f"{path.name}: {output.text}")
    return book


def executed(path: Path) -> nbformat.NotebookNode:
    """A notebook with outputs: the copy that is committed, or one that is kept by its content.

    Raises:
      RuntimeError: the notebook was edited since the committed copy was run.
    """
    source = source_of(nbformat.read(path, as_version=4))
    kept = KEPT / path.name
    if kept.exists():
        book = nbformat.read(kept, as_version=4)
        if book.metadata.run.source != hashlib.sha256(source.encode()).hexdigest():
            raise RuntimeError(
                f"{path.name}: edited since it was run; scripts/docs notebook {path.stem}"
            )
        return book
    kept = CACHE / f"{path.stem}-{digest(source)}.ipynb"
    if not kept.exists():
        book = execute(path)
        part = kept.with_suffix(f".{os.getpid()}")
        nbformat.write(book, part)
        part.rename(kept)
    return nbformat.read(kept, as_version=4)


def keep(name: str) -> Path:
    """Run a notebook and write it, with when and how it was run, to `KEPT`."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    if path not in SOURCES:
        names = ", ".join(each.stem for each in SOURCES)
        raise SystemExit(f"notebook {name!r}: unknown; one of {names}")
    start = time.perf_counter()
    book = execute(path)
    book.metadata["run"] = {
        "source": hashlib.sha256(source_of(book).encode()).hexdigest(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - start),
        "on": f"{os.cpu_count()} cores, Python {platform.python_version()}, JAX {version('jax')}",
    }
    for cell in book.cells:
        cell.metadata.pop("execution", None)
    KEPT.mkdir(exist_ok=True)
    nbformat.write(book, KEPT / path.name)
    return KEPT / path.name


def _joined(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell, with neighbouring pieces of what it printed as one."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            text = joined[-1].text + output.text
            joined[-1] = nbformat.NotebookNode({**joined[-1], "text": text})
        else:
            joined.append(output)
    return joined


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name."""
    book, pictures, parts = executed(path), {}, []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        draws = any("image/png" in output.get("data", {}) for output in cell.outputs)
        for output in _joined(cell.outputs):
            data = output.get("data", {})
            if draws and output.output_type == "execute_result" and "image/png" not in data:
                continue  # the name of what is drawn
            if "image/png" in data:
                name = f"{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the code above draws]({path.stem}/{name})")
            else:
                text = output.text if output.output_type == "stream" else data["text/plain"]
                parts.append(f'```text {{.output title="prints"}}\n{text.rstrip()}\n```')
    run = book.metadata.get("run")
    how = (
        f"Run on {run.date} in {run.seconds} s on {run.on}."
        if run
        else "Run when this site was built."
    )
    parts.insert(1, f"{how} The notebook itself is `notebooks/{path.name}` in the repository.")
    return "\n\n".join(parts), pictures


if __name__ == "__main__":
    for given in sys.argv[1:]:
        print(keep(given))
