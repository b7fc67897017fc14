"""The site builds without a warning; every link in it leads somewhere; nothing comes from elsewhere; nothing is missing."""
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tinyseg.op import REGISTRY
from tinyseg.steps import STEPPERS

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "examples" / "lecture").glob("*.py"))
NO_PAGE = {"__init__", "__main__", "__pycache__", "cli", "kernels", "ops"}
NEEDED = ("sphinx", "myst_parser", "sphinx_gallery", "furo")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)),
                                                   reason=f"pip install '.[docs]' brings {', '.join(NEEDED)}")]


class Page(HTMLParser):
    """The anchors of a page, where its links lead, what it loads, and the code in its links."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded, self.linked_code = set(), [], [], set()
        self.open, self.frames = [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.frames += tag == "iframe"
        self.open.append(tag)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif given.get("src"):
            self.loaded.append(given["src"])
        elif tag == "link" and "href" in given:
            self.loaded.append(given["href"])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if {"a", "code"} <= set(self.open):
            self.linked_code.add(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built from a copy, so that nothing is left in the repository; the examples are run by other tests."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples", "tests", "tinyseg"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "generated", "_build"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-D", "plot_gallery=0", "docs", "out"]
    environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "1"}   # nothing is computed that needs kernels
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            if not target.is_file():
                broken.append(f"{name}: {link}")
            elif parts.fragment and target.suffix == ".html":
                if unquote(parts.fragment) not in pages[os.path.relpath(target, site).replace(os.sep, "/")].anchors:
                    broken.append(f"{name}: no anchor {link}")
    assert not broken, "\n".join(broken)
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_another_host(site, pages):
    assert not [(name, link) for name, page in pages.items() for link in page.loaded if urlsplit(link).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.parametrize("name", REGISTRY)
def test_every_op_has_its_page(site, pages, name):
    text = (site / "generated" / "ops" / f"{name}.html").read_text(encoding="utf-8")
    assert '<span class="nf">reference</span>' in text and '<span class="nf">backward</span>' in text
    assert (site / "_images" / f"{name}.svg").stat().st_size > 1000
    assert any(link.startswith(f"{name}.html") for link in pages["generated/ops/overview.html"].links)


def test_ops_show_the_kernels_that_they_run(site):
    for op, kernels, loop in [("max_pool2d", ["max_pool2d", "max_pool2d_indices", "max_pool2d_grad"], "each_task"),
                              ("bilinear", ["bilinear", "bilinear_grad"], "prange"),
                              ("conv_transpose2d", ["conv2d_input_grad", "conv2d", "channel_sums"], "prange")]:
        text = (site / "generated" / "ops" / f"{op}.html").read_text(encoding="utf-8")
        assert all(f'<span class="nf">{kernel}</span>' in text for kernel in kernels) and loop in text


@pytest.mark.parametrize("model, name", [("unet", "copy_and_crop"), ("fcn", "score_pool4"), ("segnet", "upsample"),
                                         ("deeplab", "pyramid")])
def test_every_model_has_its_page(site, model, name):
    text = (site / "generated" / "models" / f"{model}.html").read_text(encoding="utf-8")
    assert '<span class="nf">forward</span>' in text and name in text
    assert "score_pool4" in (site / "_images" / "fcn_0.svg").read_text(encoding="utf-8")


def test_every_stepper_is_live(pages):
    assert pages["generated/steps/overview.html"].frames == len(STEPPERS)


def test_every_room_is_in_the_reference(pages):
    rooms = {path.name.removesuffix(".py") for path in (ROOT / "tinyseg").iterdir()} - NO_PAGE
    assert {f"generated/api/tinyseg.{room}.html" for room in rooms if "." not in room} <= set(pages)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_a_page_and_a_notebook(site, pages, name):
    assert any(link.endswith(f"{name}.ipynb") for link in pages[f"generated/gallery/{name}.html"].links)
    assert name in (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8"), "docs/lecture.md does not lead to it"


def test_the_lectures_table_leads_to_steppers_examples_and_tests(pages):
    text = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")
    paths = {name for name in re.findall(r"`((?:tests|examples)/[^`]*(?:\.py|/))`", text) if (ROOT / name).exists()}
    commands = set(re.findall(r"`(tinyseg step [^`]*)`", text))
    assert len(paths) > 15 and len(commands) > 5
    linked = pages["lecture.html"].linked_code
    assert not paths - linked
    assert all(any(piece in linked for piece in command.split()) for command in commands)
