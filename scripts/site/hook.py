"""Hooks of MkDocs: pages that are made of the repository's files when the site is built.

An example of the guide or the gallery, a notebook, the reference of a subject, and every file
that a page links to gets a page. Links of GitHub become links of the site, and names such as
`cb.simulate` links to the reference.
"""

import ast
import html
import posixpath
import re
from pathlib import Path

import examples
import links
import notebook_pages
import reference
from examples import ROOT
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

GALLERY = sorted((ROOT / "docs/gallery").glob("*.py"))
GUIDE = sorted((ROOT / "docs/guide").glob("*.py"))
CARDS = "<!-- gallery -->"
"""Where the page of the gallery shows its examples."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other files."""

    def add(uri: str, content: str | bytes) -> None:
        files.append(File.generated(config, uri, content=content))

    add("api/index.md", reference.index())
    for name in reference.PAGES:
        add(f"api/{name}.md", reference.page(name))
    for path in GUIDE:
        add(links.page_of(str(path.relative_to(ROOT))) or "", _example(path))
    ran = examples.outputs(GALLERY)
    for path, output in ran.items():
        add(f"gallery/{path.stem}.md", _example(path, output))
        for picture in output.pictures:
            add(f"gallery/{path.stem}/{picture.name}", picture.read_bytes())
    for path in notebook_pages.SOURCES:
        text, pictures = notebook_pages.page(path)
        add(
            f"notebooks/{path.stem}.md",
            links.rewritten(text, f"notebooks/{path.name}", f"notebooks/{path.stem}.md"),
        )
        for name, data in pictures.items():
            add(f"notebooks/{path.stem}/{name}", data)
    for name, uri in links.PAGES.items():
        if uri != "index.md":  # which docs/ has
            add(uri, (ROOT / name).read_text())
    for source in _linked(files):
        add(f"source/{source}.md", _source(source))
    return files


def _linked(files: Files) -> list[str]:
    """Files of the repository that a page links to and that have no page of their own."""
    found = set()
    for file in files.documentation_pages():
        for target in links.targets(file.content_string, _origin(file.src_uri)):
            if (links.page_of(target) or "").startswith("source/"):
                found.add(target)
    return sorted(found)


def _origin(uri: str) -> str:
    """The path in the repository of the file that a page is made of."""
    copies = {page: name for name, page in links.PAGES.items() if page != "index.md"}
    return copies.get(uri, f"docs/{uri}")


def _title(path: Path) -> tuple[str, str, str]:
    """First line of an example's docstring, what follows it there, and the code."""
    text = path.read_text()
    about = ast.get_docstring(ast.parse(text)) or path.stem
    first, _, rest = about.partition("\n")
    code = text.split('"""', 2)[2].strip()
    return first.rstrip("."), rest.strip(), code


def _example(path: Path, output: examples.Output | None = None) -> str:
    """The page of an example: what it shows, its code, what it printed and drew."""
    title, about, code = _title(path)
    parts = [f"# {title}", about] if about else [f"# {title}"]
    parts.append(f'```python title="{path.relative_to(ROOT)}"\n{code}\n```')
    if output is None:
        return "\n\n".join(parts)
    if output.stdout.strip():
        parts.append(f'```text title="prints"\n{output.stdout.rstrip()}\n```')
    parts += [f"![{title}]({path.stem}/{picture.name})" for picture in output.pictures]
    parts.append(f"It ran in {output.seconds:.1f} s when this site was built.")
    return "\n\n".join(parts)


def _source(path: str) -> str:
    """A page that shows a file of the repository."""
    language = {".py": "python", ".sh": "bash", ".toml": "toml"}.get(Path(path).suffix, "text")
    return f"# {path}\n\n```{language}\n{(ROOT / path).read_text()}\n```"


def _cards(config: MkDocsConfig) -> str:
    """The examples of the gallery in the order of the menu, each with its first picture."""
    menu = str(config.nav)
    outputs, cards = examples.outputs(GALLERY), []
    for path, output in sorted(outputs.items(), key=lambda each: menu.find(f"/{each[0].stem}.md")):
        title = _title(path)[0]
        picture = output.pictures[0].name
        cards.append(
            f'<a class="card" href="{path.stem}.html"><img alt="" loading="lazy" '
            f'src="{path.stem}/{picture}"><span>{html.escape(title)}</span></a>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository become links of the site; the gallery gets its pictures."""
    uri = page.file.src_uri
    if uri.startswith("coming-from/") or CARDS in markdown:
        page.meta["hide"] = ["toc"]  # two columns of code, or of pictures, need the room
    if uri.startswith(("notebooks/", "api/", "source/")):
        return markdown
    text = links.rewritten(markdown, _origin(uri), uri)
    # A comment that stands directly above a table would take it into its block of HTML.
    text = re.sub(r"^(<!-- .* -->)\n(?=\|)", r"\1\n\n", text, flags=re.M)
    return text.replace(CARDS, _cards(config)) if CARDS in text else text


NAME = re.compile(r"<code>(cb(?:\.\w+)+)(\([^<]*\))?</code>(?!</a>)")
"""A name of the package in running text."""


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Names of the package become links to the reference."""
    known, uri = reference.anchors(), page.file.src_uri

    def link(match: re.Match) -> str:
        target = known.get(match[1])
        if target is None:
            return match[0]
        file, _, anchor = target.partition("#")
        found = files.get_file_from_path(file)
        assert found is not None
        url = posixpath.relpath(found.url, posixpath.dirname(page.url) or ".")
        return f'<a class="name" href="{url}#{anchor}">{match[0]}</a>'

    return (
        content
        if uri.startswith(("source/", "api/")) and uri != "api/index.md"
        else NAME.sub(link, content)
    )
