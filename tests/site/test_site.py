"""The documentation site: links, the reference, the gallery, and how far away things are."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT

import cerebellum as cb

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """The links of a page, what it loads, and its anchors."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in ("script", "img", "link") and (found.get("src") or found.get("href")):
            self.loads.append(found.get("src") or found["href"])


@cache
def page(path: Path) -> Links:
    return Links(path.read_text())


def local(site: Path, origin: Path, link: str) -> tuple[Path, str] | None:
    """The file and the anchor that a link leads to; None for one to another place."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = origin if not parts.path else (origin.parent / unquote(parts.path)).resolve()
    return path / "index.html" if path.is_dir() else path, unquote(parts.fragment)


def pages(site: Path) -> Iterator[Path]:
    return (path for path in sorted(site.rglob("*.html")) if path.name != "404.html")


def test_no_link_is_broken_and_no_anchor_is_missing(site):
    broken, seen = [], 0
    for origin in pages(site):
        for link in page(origin).links + page(origin).loads:
            target = local(site, origin, link)
            if target is None:
                continue
            seen += 1
            path, anchor = target
            if not path.is_file():
                broken.append(f"{origin.relative_to(site)}: {link}")
            elif path.suffix == ".html" and anchor not in page(path).anchors:
                broken.append(f"{origin.relative_to(site)}: {link}: no such anchor")
    assert not broken
    assert seen > 5_000


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = {load for path in pages(site) for load in page(path).loads}
    assert not {load for load in loaded if urlsplit(load).netloc}
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text()), style.name


GOALS = {
    "install": ("start.html", "install"),
    "own network": ("guide/own_network.html", ""),
    "own neuron": ("guide/own_neuron.html", ""),
    "GPU": ("gpu.html", ""),
    "how to cite": ("cite.html", ""),
    "NEST": ("coming-from/nest.html", ""),
    "Brian2": ("coming-from/brian2.html", ""),
    "Norse": ("coming-from/norse.html", ""),
    "Jaxley": ("coming-from/jaxley.html", ""),
}


@pytest.fixture(scope="module")
def clicks(site) -> dict[Path, int]:
    """The least number of clicks from the first page to each page."""
    start = site / "index.html"
    found, edge = {start: 0}, [start]
    while edge:
        origin = edge.pop(0)
        for link in page(origin).links:
            target = local(site, origin, link)
            if target and target[0].suffix == ".html" and target[0] not in found:
                found[target[0]] = found[origin] + 1
                edge.append(target[0])
    return found


@pytest.mark.parametrize("goal", GOALS)
def test_a_stranger_finds_it_within_three_clicks(goal, site, clicks):
    """Of links of the page, menus included; the title says what was looked for."""
    path, anchor = GOALS[goal]
    assert clicks[site / path] <= 3
    assert anchor in page(site / path).anchors
    title = re.search(r"<h1.*?</h1>", (site / path).read_text(), re.DOTALL)
    assert title
    word = {"install": "Start", "own network": "network", "own neuron": "neuron"}.get(goal, goal)
    assert word.lower() in title[0].lower()


def test_every_page_can_be_reached(site, clicks):
    assert set(clicks) == set(pages(site))


def test_the_reference_has_every_public_name(site, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/site"))
    import reference

    anchors = reference.anchors()
    names = {f"cb.{name}" for name in cb.__all__ if name != "__version__"}
    assert names <= set(anchors)
    assert len(anchors) > 200
    for name, place in anchors.items():
        file, _, anchor = place.partition("#")
        assert anchor in page(site / Path(file).with_suffix(".html")).anchors, name


def test_names_in_the_pages_are_names_of_the_package(site):
    """A name that leads nowhere is misspelt, or not public; some are attributes of public ones."""
    unknown = set()
    for path in pages(site):
        if path.relative_to(site).parts[0] in ("api", "source"):
            continue
        for name in re.findall(r"(?<!\">)<code>(cb(?:\.\w+)+)[^<]*</code>", path.read_text()):
            thing: object = cb
            for part in name.split(".")[1:]:
                thing = getattr(thing, part, None)
            if thing is None:
                unknown.add(f"{path.relative_to(site)}: {name}")
    assert not unknown


def test_units_are_in_the_reference(site):
    text = (site / "api/neurons.html").read_text()
    assert "membrane capacitance, pF" in text
    assert "threshold, mV" in text


def test_every_example_of_the_gallery_has_a_picture(site):
    scripts = sorted((ROOT / "docs/gallery").glob("*.py"))
    assert len(scripts) >= 12
    cards = page(site / "gallery/index.html").links
    for script in scripts:
        assert f"{script.stem}.html" in cards
        pictures = list((site / "gallery" / script.stem).glob("*.*"))
        assert pictures
        assert all(picture.stat().st_size > 5_000 for picture in pictures)
        own = page(site / f"gallery/{script.stem}.html").loads
        assert any(load.startswith(f"{script.stem}/") for load in own)


def test_notebooks_that_were_edited_since_they_ran_are_refused(monkeypatch, tmp_path):
    """Their outputs would be those of other cells."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts/site"))
    import notebook_pages

    book = (ROOT / "notebooks/02_published_rates.ipynb").read_text()
    (tmp_path / "02_published_rates.ipynb").write_text(book.replace("Cells alone", "Cells"))
    with pytest.raises(RuntimeError, match=r"edited since it was run; scripts/docs notebook 02"):
        notebook_pages.executed(tmp_path / "02_published_rates.ipynb")


def test_an_example_that_warns_stops_the_build(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/site"))
    import examples

    monkeypatch.setattr(examples, "CACHE", tmp_path / "kept")
    script = tmp_path / "warns.py"
    script.write_text("import warnings\nwarnings.warn('about to end')\n")
    with pytest.raises(RuntimeError, match=r"warns\.py: UserWarning: about to end"):
        examples.outputs([script])
    assert not list((tmp_path / "kept").iterdir())
