"""A pytest fixture that checks gradients, for every project that has tinyseg installed.

    def test_my_layer(gradcheck):
        gradcheck(my_layer, [np.random.default_rng(0).normal(size=(2, 3, 8, 8))])
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .gradcheck import Report


@pytest.fixture
def gradcheck() -> Callable[..., Report]:
    """`gradcheck(function, inputs, ...)`: as tinyseg.gradcheck.check, but a wrong gradient fails the test."""
    from .gradcheck import check

    def run(function: Callable[..., Any], inputs: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        report = check(function, inputs, **options)
        if not report.ok:
            pytest.fail(str(report), pytrace=False)
        return report

    return run
