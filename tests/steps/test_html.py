"""The page: what is in it, and what a real browser makes of it."""
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time
from html import unescape

import numpy as np
import pytest

from tinyseg import steps
from tinyseg.steps import Frame, Steps, Text
from tinyseg.steps.frames import grid

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def numbers(table):
    """The numbers of a table, row by row; None for an empty cell."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [[float(cell) if cell else None for cell in re.findall(r"<td[^>]*>([^<]*)", row)] for row in rows]


def test_the_page_holds_every_frame_with_its_numbers():
    run = steps.conv_transpose()
    content = data(run.html())
    assert [frame["sentence"] for frame in content["frames"]] == [frame.sentence for frame in run]
    for shown, frame in zip(content["frames"], run):
        for k, panel in zip(shown["panels"], frame.panels):
            values = [[None if np.isnan(v) else v for v in row] for row in panel.values]
            assert numbers(content["panels"][k]) == values


def test_panels_that_do_not_change_are_stored_once():
    content = data(steps.conv().html())
    shown = sum(len(frame["panels"]) for frame in content["frames"])
    assert len(content["panels"]) == len(set(content["panels"])) < shown


def test_what_is_marked_is_also_said():
    content = data(steps.conv()[1:2].html())
    assert '<td class="written">3.75<span class="hidden"> written</span></td>' in content["panels"][4]
    graph = data(steps.small_net()[1:2].html())["panels"][0]
    assert 'aria-label="x to conv2d 1; w to conv2d 1' in graph and "cross_entropy: read" in graph


def test_text_is_escaped_and_the_page_asks_for_nothing():
    nasty = "</script><b>&\"'"
    page = Steps(nasty, [Frame(nasty, (Text(nasty, (nasty,)), grid(nasty, [[1]], rows=[nasty])), nasty)]).html()
    assert page.count("</script>") == 2 and "<b>" not in page
    assert data(page)["frames"][0]["sentence"] == nasty
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=|url\((?!#)|@import|https?:", page)


def test_a_notebook_shows_the_same_page_in_a_frame_of_its_own():
    run = steps.max_pool()
    shown = run._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and shown.count("<iframe") == 1
    assert unescape(re.search(r'srcdoc="([^"]*)"', shown)[1]) == run.html()


class Browser:
    """Headless Chromium, spoken to over a pipe in its DevTools protocol."""

    def __init__(self, folder):
        (browser_reads, self.write_end), (self.read_end, browser_writes) = os.pipe(), os.pipe()
        command = (f'exec "{BROWSER}" --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir="{folder}" '
                   f"--remote-debugging-pipe about:blank 3<&{browser_reads} 4>&{browser_writes}")
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=(browser_reads, browser_writes),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(browser_reads)
        os.close(browser_writes)
        self.count, self.buffer, self.events, self.session = itertools.count(1), b"", [], None

    def receive(self, until):
        while b"\0" not in self.buffer:
            if not select.select([self.read_end], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            received = os.read(self.read_end, 1 << 16)
            if not received:
                raise ConnectionError("the browser is gone")
            self.buffer += received
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, **parameters):
        number = next(self.count)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + 60
        while True:
            message = self.receive(until)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Log", "Network":
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.getElementById('count').textContent !== ''")

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, condition, seconds=30):
        until = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < until, f"{condition} did not come true"
            time.sleep(0.05)

    def press(self, key, text=""):
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Enter": 13, " ": 32, "Tab": 9}
        for kind in "keyDown", "keyUp":
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key],
                      **({"text": text} if text and kind == "keyDown" else {}))

    def click(self, name):
        self.evaluate(f"document.getElementById('{name}').click()")

    def at(self):
        return self.evaluate("document.getElementById('count').textContent")

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(20)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium here: install Debian's package chromium")
    folder = tmp_path_factory.mktemp("page")
    steps.conv_strided().save_html(folder / "page.html")                       # five frames
    browser = Browser(folder / "profile")
    try:
        browser.open((folder / "page.html").as_uri())
        yield browser
        requests = [event["params"]["request"]["url"] for event in browser.events
                    if event["method"] == "Network.requestWillBeSent"]
        assert requests == [(folder / "page.html").as_uri()], "the page asked for something"
        wrong = [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded",
                                                                          "Runtime.consoleAPICalled")]
        assert not wrong, wrong
    finally:
        browser.close()


@pytest.mark.slow
def test_buttons_and_slider(browser):
    browser.press("Home")
    assert browser.at() == "1 of 5"
    for expected in "2 of 5", "3 of 5", "4 of 5", "5 of 5", "5 of 5":
        browser.click("next")
        assert browser.at() == expected
    assert browser.evaluate("document.getElementById('next').getAttribute('aria-disabled')") == "true"
    assert browser.evaluate("document.getElementById('sentence').textContent") == steps.conv_strided()[-1].sentence
    assert browser.evaluate("document.querySelectorAll('#stage td.written').length") == 1
    assert browser.evaluate("document.querySelector('#stage td.written').firstChild.data") == "40"
    browser.click("back")
    assert browser.at() == "4 of 5" and browser.evaluate("slider.value") == "4"
    browser.evaluate("slider.value = 2; slider.dispatchEvent(new Event('input'))")
    assert browser.at() == "2 of 5" and browser.evaluate("slider.getAttribute('aria-valuetext')") == "2 of 5"


@pytest.mark.slow
def test_keyboard(browser):
    browser.evaluate("document.activeElement.blur()")
    for key, expected in [("Home", 1), ("ArrowLeft", 1), ("ArrowRight", 2), ("Enter", 3), ("ArrowLeft", 2), ("End", 5),
                          ("ArrowRight", 5)]:
        browser.press(key, "\r" if key == "Enter" else "")
        assert browser.at() == f"{expected} of 5", key
    browser.evaluate("slider.focus()")
    browser.press("ArrowLeft")
    assert browser.at() == "4 of 5", "the slider's own arrow moves by one, not by two"
    browser.evaluate("document.getElementById('back').focus()")
    browser.press("Enter", "\r")
    assert browser.at() == "3 of 5", "Enter on a button presses it, and nothing else"


@pytest.mark.slow
def test_play_runs_to_the_end_stops_and_begins_again(browser):
    browser.evaluate("document.activeElement.blur(); speed.value = 8")
    browser.press("Home")
    browser.press(" ", " ")
    assert browser.evaluate("play.textContent") == "Pause"
    assert browser.evaluate("sentence.getAttribute('aria-live')") == "off"
    browser.wait("count.textContent === '5 of 5' && play.textContent === 'Play'")
    assert browser.evaluate("sentence.getAttribute('aria-live')") == "polite"
    browser.evaluate("speed.value = 0.5")
    browser.click("play")
    assert browser.at() == "1 of 5" and browser.evaluate("play.textContent") == "Pause"
    browser.click("next")
    assert browser.at() == "2 of 5" and browser.evaluate("play.textContent") == "Play", "whoever steps stops the play"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1600, 400])
def test_nothing_sticks_out_of_a_wide_or_a_narrow_window(browser, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.evaluate("show(2)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("Math.min(...[...document.querySelectorAll('button')].map(b => b.offsetHeight))") >= 44


@pytest.mark.slow
def test_a_wide_table_scrolls_alone_and_not_the_page(browser):
    panel = data(steps.conv_matrix()[-1:].html())["panels"][0]
    browser.call("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)
    browser.evaluate(f"stage.innerHTML = {json.dumps(panel)}")
    assert browser.evaluate("document.querySelector('.panel').scrollWidth") > 400
    assert browser.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")
def test_within_a_page_it_makes_room_when_the_window_becomes_narrow(tmp_path):
    (tmp_path / "page.html").write_text(f'<p id="count">a page</p>{steps.conv()._repr_html_()}', encoding="utf-8")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open((tmp_path / "page.html").as_uri())
        for width in 1600, 400:
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
            browser.wait("(frame => frame.contentWindow.innerWidth > 300 && frame.clientHeight >= "
                         "frame.contentDocument.documentElement.scrollHeight)(document.querySelector('iframe'))", seconds=10)
            assert browser.evaluate("document.querySelector('iframe').clientWidth") < width
    finally:
        browser.close()
