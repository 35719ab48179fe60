"""The documentation site in a real browser: no complaints, search, a phone's width, dark."""

import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from browser import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """The address of a server of the site."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(site))

        def log_message(self, *_):
            pass

    port = serving.free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        assert not os.environ.get("CI"), "chromium is missing"
        pytest.skip("chromium is not installed")
    with Browser(program, tmp_path_factory.mktemp("browser")) as held:
        yield held


def test_every_page_is_quiet_and_fits_a_phone(site, address, browser):
    """Nothing on the console, nothing asked of another machine, and no page wider than 390 px."""
    browser.screen(390)
    wrong, seen = [], 0
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":
            continue
        name = str(path.relative_to(site))
        browser.open(address + name)
        wide = browser.run("document.documentElement.scrollWidth")
        outside = [url for url in browser.requests() if not url.startswith((address, "data:"))]
        if wide > 390 or outside or browser.complaints():
            wrong.append((name, wide, outside, browser.complaints()))
        seen += 1
    assert not wrong
    assert seen > 60


@pytest.mark.parametrize("page", ["index", "circuits", "gallery/index", "api/drives"])
def test_it_is_light_or_dark_as_the_system_is(page, address, browser):
    """And what is written has a contrast of at least 4.5 with what it is written on."""
    light = """(() => {
        const parts = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const luminance = c => parts(c).map(x => x / 255)
            .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
            .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
        const ground = luminance(getComputedStyle(document.body).backgroundColor);
        const text = [...document.querySelectorAll("article p, article h1, article a")]
            .map(each => luminance(getComputedStyle(each).color));
        const contrast = x => (Math.max(x, ground) + 0.05) / (Math.min(x, ground) + 0.05);
        return [ground, Math.min(...text.map(contrast))];
    })()"""
    grounds = []
    for dark in (False, True):
        browser.screen(1280, dark=dark)
        browser.open(f"{address}{page}.html")
        ground, contrast = browser.run(light)
        grounds.append(ground)
        assert contrast >= 4.5
        assert not browser.complaints()
    assert grounds[0] > 0.9
    assert grounds[1] < 0.1


@pytest.mark.parametrize(
    ("words", "page"),
    [("climbing fibre", "gallery/climbing_fibres.html"), ("define_neuron", "api/neurons.html")],
)
def test_search_finds(words, page, address, browser):
    browser.screen(1280)
    browser.open(address)
    browser.run(
        "document.querySelector('[data-md-toggle=search]').click();"
        "document.querySelector('[data-md-component=search-query]').focus()"
    )
    browser.call("Input.insertText", text=words)
    links = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    serving.until(lambda: browser.run(links), every=0.1)
    assert any(page in link for link in browser.run(links)), browser.run(links)
    assert not browser.complaints()


def test_a_picture_of_the_page_is_a_picture(address, browser, tmp_path):
    """The driver's own work: a page of this width, with something on it."""
    browser.screen(390, dark=True)
    browser.open(address)
    path = Path(tmp_path) / "page.png"
    browser.picture(path)
    assert path.read_bytes()[16:24] == (390).to_bytes(4, "big") + (900).to_bytes(4, "big")
    assert path.stat().st_size > 10_000
