"""The pages of the documentation: built without a warning, whole, and readable in a browser and on a telephone."""

import functools
import http.server
import importlib
import pkgutil
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import pytest

import sdfast
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
PHONE = {"width": 400, "height": 800}
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODULES = ["sdfast", *(f"sdfast.{path.stem}" for path in (ROOT / "docs" / "reference").glob("*.md") if path.stem != "sdfast")]


@pytest.fixture(scope="module")
def site(pages) -> Iterator[str]:
    """Serve the pages; yield where."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=pages)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """A headless browser; the one of the system, since packages bring none along."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'sdfast[docs]'")
    if BROWSER is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_every_public_name_is_in_the_reference(pages):
    from sphinx.util.inventory import InventoryFile

    listed = set(InventoryFile.load((pages / "objects.inv").open("rb"), "", lambda base, uri: uri)["py:function"])
    for kind in ("py:class", "py:exception", "py:data", "py:module"):
        listed |= set(InventoryFile.load((pages / "objects.inv").open("rb"), "", lambda base, uri: uri).get(kind, ()))
    missing = set()
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            found = getattr(module, name)
            if callable(found) and f"{module.__name__}.{name}" not in listed and f"sdfast.{name}" not in listed:
                missing.add(f"{module.__name__}.{name}")
    assert not missing


def test_every_page_opens_without_an_error(site, browser):
    """No message in the console, each link and picture there, and nothing wider than a telephone."""
    page = browser.new_page(viewport=PHONE)
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda reply: complaints.append(f"{reply.status} {reply.url}") if reply.status >= 400 else None)
    seen, waiting = set(), {site + "index.html"}
    while waiting:
        address = waiting.pop()
        seen.add(address)
        page.goto(address)
        assert not complaints, (address, complaints)
        broken = page.eval_on_selector_all("img", "all => all.filter(x => x.complete && !x.naturalWidth).map(x => x.src)")
        assert not broken, (address, broken)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{address} is {width} pixels wide"
        for link in page.eval_on_selector_all("a[href]", "all => all.map(x => x.href)"):
            target = urldefrag(urljoin(address, link)).url
            if target.startswith(site) and target.endswith(".html") and target not in seen:
                waiting.add(target)
    assert len(seen) >= len(MODULES)
