"""The listening page in a real browser: Chromium without a screen, driven by Playwright.

Screenshots for a person to look at go to the folder in $FSQ_AUDIO_SCREENSHOTS, if that is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from report_tools import EVIL, SILENT, make_evaluation

from fsq_audio.report.content import Choice
from fsq_audio.report.page import write_page
from fsq_audio.report.results import Results, read_results

pytest.importorskip("jinja2")
pytest.importorskip("PIL")
playwright = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(NAMES)} is installed")

CLIPS = ["one", EVIL, SILENT, "lost"]
SIZES = {"light": (1280, 900), "dark": (1280, 900), "phone": (360, 740), "phone-dark": (360, 740)}

# The lowest contrast of text with what is behind it, and where that is.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, "nothing"], count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim().slice(0, 40);
    if (!text || node.matches("script, title")) continue;
    const style = getComputedStyle(node);
    const front = parse(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const pair = [light(front), light(behind(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    count += 1;
    if (ratio < worst[0]) worst = [ratio, `${node.tagName} "${text}"`];
  }
  return [...worst, count];
}"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(make_evaluation(tmp_path_factory.mktemp("evaluation")))


@pytest.fixture(scope="module")
def page_path(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page([results], path, Choice(names=CLIPS))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Opened:
    """The page in a tab, and what the browser had to say about it."""

    def __init__(self, browser: Any, path: Path, name: str = "light", **options: Any) -> None:
        width, height = SIZES[name]
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab = browser.new_page(
            color_scheme="dark" if "dark" in name else "light",
            viewport={"width": width, "height": height},
            **options,
        )
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: self._refuse(dialog))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.wait_for("[...document.querySelectorAll('audio')].every((each) => each.readyState)")

    def wait_for(self, expression: str) -> None:
        """Playwright's own way to wait for an expression is what the page's policy forbids."""
        for _ in range(1000):
            if self.tab.evaluate(expression):
                return
            self.tab.wait_for_timeout(10)
        raise AssertionError(f"still not: {expression}")

    def _refuse(self, dialog: Any) -> None:
        self.complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def opened(browser: Any, page_path: Path) -> Iterator[Opened]:
    opened = Opened(browser, page_path)
    yield opened
    opened.tab.close()


def column(tab: Any, index: int) -> list[str]:
    script = "(rows, i) => rows.map((row) => row.cells[i].dataset.key ?? row.cells[i].textContent)"
    found: list[str] = tab.eval_on_selector_all("#summary-table-1 tbody tr", script, index)
    return found


def test_it_loads_without_a_complaint_and_without_the_network(opened: Opened) -> None:
    opened.tab.wait_for_timeout(200)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert opened.tab.evaluate("document.querySelectorAll('img').length") > 10
    broken = "[...document.images].filter((each) => !each.naturalWidth).length"
    assert opened.tab.evaluate(broken) == 0
    assert opened.tab.locator("h3", has_text=EVIL).count() == 1


def test_a_foreign_script_would_not_run(page_path: Path, browser: Any, tmp_path: Path) -> None:
    text = page_path.read_text("utf-8").replace("</main>", "<script>alert(3)</script></main>")
    changed = tmp_path / "changed.html"
    changed.write_text(text, "utf-8")
    opened = Opened(browser, changed)
    assert any("Content Security Policy" in each for each in opened.complaints)
    assert not any(each.startswith("dialog") for each in opened.complaints)
    opened.tab.close()


def test_every_player_has_its_duration_and_a_name(opened: Opened, results: Results) -> None:
    script = """(players) => players.map((each) => [
        each.closest(".version").dataset.system, each.duration, each.getAttribute("aria-label")])"""
    players = opened.tab.eval_on_selector_all("audio", script)
    expected = []
    for number, id in enumerate(CLIPS, start=1):
        for system in ("original", *results.systems):
            original = system == "original"
            path = results.original(id) if original else results.degraded(system, id)
            if path is not None:
                label = f"{system}, clip {number}: {id}"
                expected.append((system, soundfile.info(path).duration, label))
    assert len(expected) == 4 * 4 - 1
    for (system, duration, label), (name, seconds, text) in zip(players, expected, strict=True):
        assert (system, label) == (name, text)
        assert duration == pytest.approx(seconds, abs=0.01)


def test_a_header_sorts_by_mouse(opened: Opened) -> None:
    tab = opened.tab
    heads = tab.locator("#summary-table-1 thead th")
    index = next(i for i, text in enumerate(heads.all_inner_texts()) if "mel_distance" in text)
    before = column(tab, index)
    ordered = sorted(before, key=float)
    heads.nth(index).locator("button").click()
    assert heads.nth(index).get_attribute("aria-sort") == "ascending"
    assert column(tab, index) == ordered
    heads.nth(index).locator("button").click()
    assert heads.nth(index).get_attribute("aria-sort") == "descending"
    assert column(tab, index) == ordered[::-1]
    assert before != ordered  # so that both clicks had something to do
    heads.nth(0).locator("button").click()
    assert heads.nth(0).get_attribute("aria-sort") == "ascending"
    assert heads.nth(index).get_attribute("aria-sort") == "none"
    assert column(tab, 0) == ["copy", "ours-1", "ours-2"]
    status = tab.locator("#summary-1 ~ [role=status]").inner_text()
    assert status == "Sorted by system, ascending."


def test_what_has_no_value_sorts_last_both_ways(opened: Opened) -> None:
    tab = opened.tab
    heads = tab.locator("#summary-table-1 thead th")
    for _ in range(2):
        heads.nth(1).locator("button").click()
        values = column(tab, 1)
        assert values[-1] == ""
        assert "" not in values[:-1]


def test_everything_works_from_the_keyboard(opened: Opened) -> None:
    tab = opened.tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.locator(".skip").bounding_box()["x"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "keep"
    reached = set()
    for _ in range(400):
        tab.keyboard.press("Tab")
        kind = tab.evaluate("document.activeElement.tagName")
        reached.add(kind)
        inside = tab.evaluate("document.activeElement.closest('#summary-table-1') !== null")
        if kind == "BUTTON" and inside:
            break
    assert reached >= {"AUDIO", "SUMMARY", "BUTTON", "DIV"}
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) == "solid"
    tab.keyboard.press("Enter")
    head = "document.activeElement.closest('th').getAttribute('aria-sort')"
    assert tab.evaluate(head) == "ascending"
    assert column(tab, 0) == ["copy", "ours-1", "ours-2"]
    tab.keyboard.press("Space")
    assert tab.evaluate(head) == "descending"
    assert column(tab, 0) == ["ours-2", "ours-1", "copy"]


def test_another_version_goes_on_from_the_same_place(opened: Opened) -> None:
    tab = opened.tab
    times = "[...document.querySelectorAll('audio')].slice(0, 2).map((each) => each.currentTime)"
    paused = "[...document.querySelectorAll('audio')].map((each) => each.paused)"
    play = "(index) => document.querySelectorAll('audio')[index].play()"
    tab.evaluate(play, 0)
    opened.wait_for("document.querySelector('audio').currentTime > 0.3")
    tab.evaluate(play, 1)
    assert tab.evaluate(paused)[:2] == [True, False]
    first, second = tab.evaluate(times)
    assert second >= first > 0.3
    assert tab.locator(".version.playing").get_attribute("data-system") == "ours-1"
    # Without the switch, it begins at its beginning.
    tab.evaluate("document.querySelectorAll('audio').forEach((each) => each.pause())")
    tab.locator("#keep").uncheck()
    tab.evaluate(play, 2)
    assert tab.evaluate("document.querySelectorAll('audio')[2].currentTime") < 0.25
    # A place chosen in a spectrogram is where it plays.
    tab.locator("#keep").check()
    box = tab.locator(".spectrogram").nth(3).bounding_box()
    tab.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 20)
    opened.wait_for("!document.querySelectorAll('audio')[3].paused")
    assert tab.evaluate("document.querySelectorAll('audio')[3].currentTime") >= 1.15


@pytest.mark.parametrize("name", list(SIZES))
def test_it_fits_reads_well_and_can_be_looked_at(
    name: str, browser: Any, page_path: Path, tmp_path: Path
) -> None:
    opened = Opened(browser, page_path, name)
    tab = opened.tab
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= SIZES[name][0]
    ratio, where, count = tab.evaluate(CONTRAST)
    assert count > 200
    assert ratio >= 4.5, where
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] < 128")
    assert dark == ("dark" in name)
    folder = Path(os.environ.get("FSQ_AUDIO_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=folder / f"report-{name}.png", full_page=True)
    assert (folder / f"report-{name}.png").stat().st_size > 50_000
    tab.close()


def test_without_scripts_it_can_still_be_read_and_heard(browser: Any, page_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page_path.as_uri())
    assert tab.locator("audio[controls]").count() == 4 * 4 - 1
    assert not tab.locator(".switch").is_visible()
    context.close()
