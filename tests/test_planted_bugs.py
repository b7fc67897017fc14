"""The checker is checked: bugs planted in the backward of every op must be refused, and called by their names."""
from collections import Counter
from functools import cache

import numpy as np
import pytest

from tinyseg.gradcheck.case import Case
from tinyseg.gradcheck.every_op import judge, op_cases, samples_of
from tinyseg.gradcheck.numeric import one_thread
from tinyseg.gradcheck.planted import PLANTS, Call, planted, shows
from tinyseg.op import REGISTRY

ANY = {"zero", "sign", "constant factor"}
SUMMED = ANY | {"missing accumulation"}
IMAGE = ANY | {"border only", "last row", "last column", "one channel", "one batch item", "channels permuted"}
TURNED = {"flipped kernel", "transposed kernel"}
CONV = {"x": IMAGE | TURNED | SUMMED, "w": (IMAGE | TURNED | SUMMED) - {"one batch item"}, "b": SUMMED}
MUST_APPLY = {
    "conv2d": CONV,
    "conv_transpose2d": CONV,
    "max_pool2d": {"x": IMAGE | SUMMED | {"tie splitting"}},
    "max": {"x": ANY | {"tie splitting"}},
    "min": {"x": ANY | {"tie splitting"}},
    "avg_pool2d": {"x": IMAGE | SUMMED},
    "adaptive_avg_pool2d": {"x": IMAGE | SUMMED},
    "bilinear": {"x": IMAGE | SUMMED},
    "nearest": {"x": IMAGE | SUMMED},
    "pad": {"x": IMAGE | SUMMED},
    "batch_norm": {"x": IMAGE | SUMMED, "weight": SUMMED, "bias": SUMMED},
    "softmax": {"x": SUMMED | {"one channel", "one batch item", "channels permuted"}},
    "cross_entropy": {"x": IMAGE},
    "linear": {"x": SUMMED, "w": SUMMED, "b": SUMMED},
    "matmul": {"a": SUMMED, "b": SUMMED},
    "add": {"a": SUMMED, "b": SUMMED},           # broadcast, not summed
    "mul": {"a": SUMMED, "b": SUMMED},
}


@pytest.fixture(autouse=True)
def small_arrays():
    with one_thread():
        yield


@cache
def trials(op):
    """Every bug planted wherever it shows: (argument, name of the bug, the report) for each time."""
    found = []
    for sample in samples_of(op):
        cases = op_cases(op, sample)
        for plant in PLANTS:
            case = cases[-1] if plant.name == "tie splitting" else cases[0]
            for i in case.positions:
                call = Call(op, tuple(case.inputs), sample.settings, case.dy, i, op.forward, op.backward)
                if shows(plant, call):
                    with planted(op, i, plant):
                        found.append((case.names[i], plant.name, judge(cases)))
    return found


every_op = pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)


@every_op
def test_every_bug_is_refused_and_named(op):
    for argument, bug, report in trials(op):
        assert not report.ok, f"{bug} of {argument} passes"
        assert {name: found.name for name, found in report.diagnoses.items()} == {argument: bug}, report


@every_op
def test_bugs_show_in_every_op(op):
    """Nothing above passes because there was nothing to find."""
    shown = {argument: {bug for name, bug, _ in trials(op) if name == argument} for argument, _, _ in trials(op)}
    assert shown and all(ANY <= bugs for bugs in shown.values())
    for argument, bugs in MUST_APPLY.get(op.name, {}).items():
        assert bugs <= shown[argument], f"{argument}: no sample shows {bugs - shown[argument]}"


def test_every_bug_is_planted_often():
    count = Counter(bug for op in REGISTRY.values() for _, bug, _ in trials(op))
    assert set(count) == {plant.name for plant in PLANTS}
    assert min(count.values()) >= 10, count
    assert sum(count.values()) >= 1000, count


@every_op
def test_the_op_is_whole_again(op):
    """Planting leaves no trace."""
    forward, backward = op.forward, op.backward
    with pytest.raises(ZeroDivisionError), planted(op, 0, PLANTS[0]):
        assert op.backward is not backward
        1 / 0
    assert op.forward is forward and op.backward is backward


def test_central_differences_name_the_bugs_as_well():
    """Without a reference, with the noise of differences in the numbers."""
    named = 0
    for op in (REGISTRY["conv2d"], REGISTRY["max_pool2d"], REGISTRY["batch_norm"]):
        sample = samples_of(op)[0]
        exact = op_cases(op, sample)
        cases = [Case(case.function, case.inputs, case.names, positions=case.positions) for case in exact]
        for plant in PLANTS:
            case = cases[-1] if plant.name == "tie splitting" else cases[0]
            for i in case.positions:
                call = Call(op, tuple(case.inputs), sample.settings, case.dy, i, op.forward, op.backward)
                if shows(plant, call):
                    with planted(op, i, plant):
                        report = judge([case])
                    assert {name: found.name for name, found in report.diagnoses.items()} == {case.names[i]: plant.name}
                    named += 1
    assert named >= 40


@pytest.mark.parametrize("size", [1e-3, 1e-8])
def test_small_errors_are_refused(size):
    """Also if every entry is wrong by a hair."""
    op = REGISTRY["conv2d"]
    cases, backward = op_cases(op, samples_of(op)[0]), op.backward
    try:
        op.backward = staticmethod(lambda ctx, dy: tuple(g * (1 + size) for g in backward(ctx, dy)))
        report = judge(cases)
    finally:
        op.backward = staticmethod(backward)
    assert {found.name for found in report.diagnoses.values()} == {"constant factor"}
    assert len(report.diagnoses) == 3
    assert np.isclose(report.error, size, rtol=1e-3)
