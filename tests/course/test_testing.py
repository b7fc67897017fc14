"""What the checks say of results, and what the grader makes of bytes that claim to be arrays."""
import json
import struct

import numpy as np
import pytest
from course.schema import validate

import tinyseg.functional as F
from tinyseg.course.testing import close, gradients
from tinyseg.course.worker import pack, unpack

X = np.arange(1.0, 25.0).reshape(1, 2, 3, 4)


@pytest.mark.parametrize("value, message", [
    (None, "y is None: is a return missing"), ("text", "y is a str, expected an array of shape \\(1, 2, 3, 4\\)"),
    (X[0], "y has shape \\(2, 3, 4\\), expected \\(1, 2, 3, 4\\)"), (X.astype(np.float32), "y is float32, expected float64"),
    (X.astype(int), "y is int64, expected float64"), (np.where(X > 5, np.nan, X), "19 of 24 entries are NaN"),
    (-X, "sign: "), (X / 4, "y is 0.25 times the right one \\(1/4\\)"), (X[..., ::-1, ::-1], "turned by 180°"),
    (X * (X < 21), "wrong, all in .*last row"), (X + 1, "y is what comes out if one is added"),
    (X * np.array([1.0, 1, 1, 2]), "2 times what it should be in the last column"),
    (np.cos(X**2), "unclassified: no known pattern; result / expected lies between")])
def test_close_says_what_is_wrong(value, message):
    with pytest.raises(AssertionError, match=message):
        close(value, X, "y", {"one is added": X + 1, "nothing is done": X})


def test_close_names_a_mistake_of_another_shape_and_accepts_what_is_right():
    close(X + 1e-12, X, mistakes={"this is no mistake here": X})
    with pytest.raises(AssertionError, match="the crop is missing"):
        close(np.pad(X, 1), X, mistakes={"the crop is missing": np.pad(X, 1)})
    with pytest.raises(AssertionError, match=r"y\[1\] is 3, expected 2; 1 of 2 entries are wrong"):
        close(np.array([1, 3]), np.array([1, 2]), "y")


@pytest.mark.parametrize("wrong, message", [
    (lambda dy: 2 * dy * (X > 4), "constant factor"), (lambda dy: None, "dx is None"),
    (lambda dy: (dy, dy), "returns 2 arrays, expected 1: dx"), (lambda dy: dy, "comes out if the mask is forgotten")])
def test_gradients_say_what_is_wrong(wrong, message):
    with pytest.raises(AssertionError, match=message):
        gradients(wrong, lambda x: F.relu(x - 4.5), {"x": X}, {"the mask is forgotten": lambda dy: [dy]})
    gradients(lambda dy: dy * (X > 4.5), lambda x: F.relu(x - 4.5), {"x": X})


def test_messages_keep_values():
    value = (np.float32(1.5), {"a": np.asfortranarray(np.arange(6).reshape(2, 3))}, [True, None, "x"], np.zeros((0, 2)))
    message, found = unpack(pack({"kind": "result"}, value)[8:])
    assert message == {"kind": "result"} and found[0] == 1.5 and found[0].dtype == np.float32
    np.testing.assert_array_equal(found[1]["a"], value[1]["a"])
    assert found[2] == [True, None, "x"] and found[3].shape == (0, 2)


def forged(value, sizes, blob=b""):
    text = json.dumps({"kind": "result", "value": value, "sizes": sizes}).encode()
    return struct.pack(">I", len(text)) + text + blob


def npy(shape, descr="<f8", data=b""):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize("body", [
    b"", b"\0" * 99, b"\xff" * 99, forged([], []), forged({"array": 0}, []), forged({"array": "x"}, [0]),
    forged({"a": 1, "b": 2}, []), forged({"array": 0}, [9], b"not an npy"),
    *(forged({"array": 0}, [len(blob)], blob) for blob in (
        npy((10**12,)), npy((-1, -1)), npy((1,), "|O", bytes(8)), npy((2,), data=bytes(8)), npy((10**30, 0)),
        npy("(" * 5000)))])
def test_forged_messages_are_refused_without_allocating_what_they_claim(body):
    with pytest.raises(ValueError):
        unpack(body)


def test_objects_are_not_sent():
    for value in (np.array([print], dtype=object), print, {1, 2}):
        with pytest.raises(TypeError, match="expected"):
            pack({}, value)


@pytest.mark.parametrize("change, message", [
    ({"score": "8"}, "score is '8', no number"), ({"score": True}, "score is True, no number"), ({"points": 8}, "has points"),
    ({"visibility": "secret"}, "visibility is 'secret'"), ({"tests": {}}, "tests is {}, no array"),
    ({"tests": [{"score": 1, "max_score": 2, "status": "passed"}]}, r"tests\[0\] lacks name"),
    ({"tests": [{"score": 1, "max_score": 2, "status": "ok", "name": "a"}]}, r"tests\[0\].status is 'ok'"),
    ({"leaderboard": [{"name": "mIoU", "value": None}]}, "value is None, no number or string")])
def test_the_schema_refuses(change, message):
    right = {"score": 8, "tests": [], "leaderboard": [{"name": "mIoU", "value": 0.5}]}
    validate(right)
    with pytest.raises(AssertionError, match=message):
        validate(right | change)
