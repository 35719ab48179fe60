"""Links of a page in the repository as links of the site.

A link that GitHub follows leads to a file of the repository. On the site the same link leads to the
page that is made of that file: of an example, a notebook, or any other file that a page points to.
"""

import posixpath
import re
from pathlib import Path

from examples import ROOT

LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=[)\s])")
"""The target of a Markdown link within the repository, and its anchor."""

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files outside docs/ that have a page of their own, by the page."""

OWN_PAGES = ("docs/guide/", "docs/gallery/")
"""Folders of examples, each of which has a page beside it."""


def page_of(path: str) -> str | None:
    """The page of the site that shows a file of the repository; None if there is no such file."""
    if path in PAGES:
        return PAGES[path]
    if not (ROOT / path).is_file():
        return None
    if path.startswith("notebooks/"):
        return f"notebooks/{Path(path).stem}.md"
    if path.endswith(".py") and path.startswith(OWN_PAGES):
        return str(Path(path).relative_to("docs").with_suffix(".md"))
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"


def targets(text: str, origin: str) -> list[str]:
    """The files of the repository that a page links to; `origin` is the page's own path in it."""
    folder = posixpath.dirname(origin)
    return [posixpath.normpath(posixpath.join(folder, match[1])) for match in LINK.finditer(text)]


def rewritten(text: str, origin: str, page: str) -> str:
    """A page's text with links that are right on the site, where it is the page `page`."""

    def replace(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[1]))
        found = page_of(target)
        if found is None:
            return match[0]
        return posixpath.relpath(found, posixpath.dirname(page) or ".") + (match[2] or "")

    return LINK.sub(replace, text)
