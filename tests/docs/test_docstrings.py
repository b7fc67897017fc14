"""Docstrings are plain text: as reST they say the same, whatever signs stand in them."""
import doctest
import importlib.util
import pathlib

import pytest

PATH = pathlib.Path(__file__).parents[2] / "docs" / "_ext" / "docstrings.py"


@pytest.fixture(scope="module")
def docstrings():
    spec = importlib.util.spec_from_file_location("docstrings", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_doctests(docstrings):
    results = doctest.testmod(docstrings)
    assert results.attempted >= 2 and not results.failed


def test_lines_of_a_paragraph_flow_and_paragraphs_stay(docstrings):
    assert docstrings.to_rest("One\ntwo.\nReturns three.\n\nFour.") == "One two.\n\nReturns three.\n\nFour."


def test_items_take_their_further_lines_along(docstrings):
    text = 'VGG: very deep.\n\na, b: one,\n    and more;\n    >= 2.\n"c": two.\n\n- three'
    assert docstrings.to_rest(text) == 'VGG: very deep.\n\n- **a, b**: one, and more; >= 2.\n- **"c"**: two.\n- three'


def test_code_and_doctests_stay_as_they_are(docstrings):
    text = "See::\n\n    x_ = |y| * 2\n\n>>> print(1_0)\n10"
    assert docstrings.to_rest(text) == "See:\n\n::\n\n    x_ = |y| * 2\n\n>>> print(1_0)\n10"


@pytest.mark.parametrize("text, rest", [("|a_b|*", r"\|a\_b\|\*"), ("`x_`s", r"``x_``\ s"), ("a\\b", r"a\\b"),
                                        ("2`n`", r"2\ ``n``"), ("`unpaired", r"\`unpaired")])
def test_signs_are_no_markup(docstrings, text, rest):
    assert docstrings.escape(text) == rest
