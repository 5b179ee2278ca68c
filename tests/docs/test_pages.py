"""The pages of the documentation in a browser: nothing in its console, all there, and readable on a telephone."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag

import pytest

PHONE = {"width": 400, "height": 800}
PATIENCE = 300_000  # ms, of a machine that does other things, too
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # of the system, since packages bring none along
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f"needs a browser, one of {', '.join(BROWSERS)}: apt-get install chromium"
    ),
]

# What a page has that a test looks at, in one journey to the browser and back.
LOOK = """() => ({
    width: document.documentElement.scrollWidth,
    images: [...document.images].filter(x => !x.complete || !x.naturalWidth).map(x => x.src),
    unnamed: [...document.images].filter(x => !x.alt).map(x => x.src),
    links: [...document.querySelectorAll("a[href]")].map(x => x.href),
    ids: [...document.querySelectorAll("[id]")].map(x => x.id),
    title: document.title,
    size: parseFloat(getComputedStyle(document.querySelector("article")).fontSize),
})"""


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Serve the pages; yield where."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'sdfast[docs]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"], timeout=PATIENCE)
        yield browser
        browser.close()


def test_every_page_opens_without_an_error(site, address, browser):
    """No message in the console, links and pictures there, nothing from elsewhere, nothing wider than a telephone."""
    page, complaints, outside = browser.new_page(viewport=PHONE), [], set()
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda reply: complaints.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else outside.add(asked.url))
    found, waiting = {}, {address + "index.html"}
    while waiting:
        at = waiting.pop()
        page.goto(at, timeout=PATIENCE)
        found[at] = page.evaluate(LOOK)
        assert not complaints, (at, complaints)
        assert not found[at]["images"] and not found[at]["unnamed"], (at, found[at])
        assert found[at]["width"] <= PHONE["width"], f"{at} is {found[at]['width']} pixels wide"
        assert found[at]["size"] >= 14 and found[at]["title"], at
        links = {urldefrag(link).url for link in found[at]["links"]}
        waiting |= {x for x in links if x.startswith(address) and x.endswith(".html")} - found.keys()
    assert not outside, "pages load what others serve"
    written = {str(path.relative_to(site)) for path in site.rglob("*.html") if "_static" not in path.parts}
    reached = {at.removeprefix(address) for at in found}
    assert reached == written - {"search.html"}, "pages that no link leads to, or links to none"
    for at, seen in found.items():
        for link in seen["links"]:
            target, anchor = urldefrag(link)
            if target in found:
                assert not anchor or anchor in found[target]["ids"], f"{at}: no {link}"
            elif target.startswith(address):
                path = Path(site, target.removeprefix(address))
                assert path.is_file(), f"{at}: no {link}"
