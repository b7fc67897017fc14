"""Files of weights made to harm, or damaged: refused with a ValueError that names them, and nothing in them is run."""
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from tinyseg.weights import read_weights, write_weights
from tinyseg.weights.opcodes import LONGEST, Machine

SUFFIXES = (".npz", ".safetensors", ".pth", ".pt")


def skip_without(suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="the extra `safetensors` is not installed")


def arrays():
    rng = np.random.default_rng(0)
    return {"conv.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "count": np.array(7),
            "a/b ä": np.ones(2, np.int16), "empty": np.zeros((0, 4), np.float32), "bool": np.array([True, False])}


def pth(path, program, **members):
    """A file as torch.save writes it, around a program of our own making."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"data.pkl": program, "byteorder": b"little", **members}.items():
            archive.writestr(f"archive/{name}", content)
    return path


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function, argument", [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (open, "{}"),
                                                (__import__, "os"), (getattr, "os"), (io.open_code, "{}")])
def test_hostile_pickles_are_refused_by_name(function, argument, protocol, tmp_path):
    trap = tmp_path / "trap"
    program = pickle.dumps({"weight": Hostile(function, argument.format(trap))}, protocol)
    refused = rf"it asks for \w+\.{function.__name__}, which no state dict needs; nothing of it was run"
    if protocol == 0:
        refused = "instruction 0x.. at byte . is none that a state dict needs"         # all that is text, such as PUT
    with pytest.raises(ValueError, match=f"w.pth: {refused}"):
        read_weights(pth(tmp_path / "w.pth", program))
    assert not trap.exists()


def tensor(size, stride, offset=0):
    """A program for {"w": tensor}, of these integers as they are, and with a storage "0" of 4 float32."""
    def integers(*numbers):
        return b"".join(b"\x8a\x09" + n.to_bytes(9, "little", signed=True) for n in numbers)
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    return (b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + storage + integers(offset)
            + b"(" + integers(*size) + b"t(" + integers(*stride) + b"t\x89NtRs.")


def test_tensors_within_their_storage(tmp_path):
    content = {"data/0": np.arange(4, dtype="<f4").tobytes()}
    for size, stride, offset, expected in [((2, 2), (2, 1), 0, [[0, 1], [2, 3]]), ((2,), (1,), 2, [2, 3]),
                                           ((), (), 3, 3), ((3,), (0,), 1, [1, 1, 1]), ((0,), (9,), 99, [])]:
        read = read_weights(pth(tmp_path / "w.pth", tensor(size, stride, offset), **content))["w"]
        np.testing.assert_array_equal(read, np.array(expected, np.float32), strict=True)


@pytest.mark.parametrize("size, stride, offset, message", [
    ((5,), (1,), 0, "reaches element 4 of a storage of 4"),
    ((2, 2), (3, 1), 0, "reaches element 4 of a storage of 4"),
    ((1,), (1,), 4, "reaches element 4 of a storage of 4"),
    ((), (), 4, "reaches element 4 of a storage of 4"),
    ((4,), (-1,), 3, "none negative"),
    ((4,), (1,), -1, "none negative"),
    ((-4,), (1,), 0, "none negative"),
    ((2, 2), (1,), 0, "as many strides as sizes"),
    ((2**60,), (1,), 0, "reaches element"),
    ((2,), (2**62,), 0, "reaches element"),
    ((2**62, 2**62), (0, 0), 0, ""),
    ((1,) * 100, (1,) * 100, 0, ""),
    ((1,), (2**66,), 0, ""),
])
def test_tensors_that_leave_their_storage(size, stride, offset, message, tmp_path):
    path = pth(tmp_path / "w.pth", tensor(size, stride, offset), **{"data/0": bytes(16)})
    with pytest.raises(ValueError, match=f"w.pth: .*{message}"):
        read_weights(path)


def test_a_tensor_is_no_storage(tmp_path):
    """Four times the one number of a storage are not four numbers of memory."""
    wide = tensor((4,), (0,))[2:-2]
    on_top = b"}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(" + wide[wide.index(b"ctorch"):]
    program = on_top + b"K\x00(K\x04t(K\x01t\x89NtRs."
    with pytest.raises(ValueError, match="w.pth: "):
        read_weights(pth(tmp_path / "w.pth", program, **{"data/0": bytes(16)}))


@pytest.mark.parametrize("members, message", [
    ({}, "its storage '0' is missing"),
    ({"data/0": bytes(12)}, "its storage '0' has 3 elements, not 4"),
    ({"data/0": bytes(15)}, ""),
    ({"data/0": bytes(16), "byteorder": b"middle"}, "its byte order is 'middle'; expected little or big"),
    ({"data/0": bytes(16), "data.pkl": b""}, "its program ends within an instruction"),
])
def test_archives_that_lack_something(members, message, tmp_path):
    path = pth(tmp_path / "w.pth", tensor((2,), (1,)), **members)
    with pytest.raises(ValueError, match=f"w.pth: .*{message}"):
        read_weights(path)


def test_the_other_byte_order(tmp_path):
    content = {"data/0": np.arange(4, dtype=">f4").tobytes(), "byteorder": b"big"}
    path = pth(tmp_path / "w.pth", tensor((4,), (1,)), **content)
    np.testing.assert_array_equal(read_weights(path)["w"], np.arange(4, dtype=np.float32), strict=True)


NESTED = b"(t" + b"\x85" * 200_000                       # a tuple in a tuple in a tuple …
DOUBLING = b"(t" + b"q\x00h\x00\x86" * 100          # (t, t), a hundred times: to go through it takes 2^100 steps
PROGRAMS = {
    "empty": b"", "stop": b".", "nothing but a mark": b"(.", "pop of nothing": b"\x86.", "a key too many": b"}(Na.",
    "memo": b"h\x05.", "unmatched mark": b"t.", "many marks": b"(" * 100_000 + b".", "float": b"G\x00.",
    "an integer for a dictionary": b"K\x01NNs.", "calls an integer": b"K\x01)R.", "build": b"}NNb.",
    "calls with no tuple": b"ccollections\nOrderedDict\nK\x01R.", "state of a list": b"]Nb.",
    "calls with too much": b"ccollections\nOrderedDict\n(NtR.", "name without end": b"ccollections",
    "name that is no text": b"c\xff\xff\n\xfe\n.", "names of integers": b"K\x01K\x02\x93.",
    "persistent": b"NQ.", "storage of no sense": b"(NNNNNtQ.", "storage of too little": b"(NNNNtQ.",
    "length beyond the end": b"X\xff\xff\xff\xffabc.", "integer of 255 bytes": b"\x8a\xff.",
    "tensor of no storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR.",
    "parameter of nothing": b"ctorch._utils\n_rebuild_parameter\n(NNNtR.",
    "nested": NESTED + b".", "nested key": b"}" + NESTED + b"Ns.", "doubling": DOUBLING + b".",
    "doubling key": b"}" + DOUBLING + b"Ns.", "doubling arguments": b"ccollections\nOrderedDict\n" + DOUBLING + b"R.",
    "doubling storage": b"(X\x07\x00\x00\x00storage" + DOUBLING + b"X\x01\x00\x00\x000NK\x04tQ.",
    "in itself": b"}q\x00K\x00h\x00s.", "list in itself": b"]q\x00h\x00a.",
    "long": b"N" * (LONGEST + 1),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_programs_that_make_no_sense(program, tmp_path):
    with pytest.raises(ValueError, match="w.pth: "):
        read_weights(pth(tmp_path / "w.pth", program))


@pytest.mark.parametrize("code", [code for code in range(256) if bytes([code]) not in
                                  b"\x80\x95N\x88\x89}])KMJ\x8aGX\x8ct\x85\x86\x87hjc\x93QR(qr\x94aesub."])
def test_other_instructions_are_refused(code):
    with pytest.raises(ValueError, match=f"instruction 0x{code:02x} at byte 1 is none that a state dict needs"):
        Machine(b"}" + bytes([code]) + b"\n" * 20, {}, id).run()


def test_a_dictionary_that_holds_itself_is_read_as_far_as_it_goes(tmp_path):
    """{"model": {"w": …}, "self": the whole}"""
    inner = tensor((2,), (1,))[2:-1]
    program = b"\x80\x02}q\x00X\x05\x00\x00\x00model" + inner + b"sX\x04\x00\x00\x00selfh\x00s."
    read = read_weights(pth(tmp_path / "w.pth", program, **{"data/0": bytes(16)}))
    assert list(read) == ["w"] and read["w"].tolist() == [0, 0]


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_zip_bombs(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("tinyseg.weights.decoding.MOST_UNPACKED", 2**24)
    path = tmp_path / f"bomb{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**24 + 1))
    with pytest.raises(ValueError, match="bomb.* would unpack to 16777217: a zip bomb, not weights"):
        read_weights(path)


@pytest.mark.parametrize("header", [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -4)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (4,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}",
    "{'descr': '<f2', 'fortran_order': False, 'shape': (4,)",
])
def test_npz_headers_that_promise_too_much(header, tmp_path):
    encoded = header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + bytes(16))
    with pytest.raises(ValueError, match="w.npz: "):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"PK", b"\x80", b"hello" * 100, bytes(1000)])
def test_something_else(suffix, content, tmp_path):
    skip_without(suffix)
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"w{suffix}: "):
        read_weights(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_damaged_files_are_refused_or_read_but_nothing_else_happens(suffix, tmp_path):
    """Bytes flipped and ends cut at random: whatever is wrong, it is a ValueError that names the file."""
    skip_without(suffix)
    rng, path = np.random.default_rng(1), tmp_path / f"w{suffix}"
    write_weights(path, arrays())
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[:rng.integers(len(damaged))] if rng.random() < 0.3 else damaged)
        try:
            read_weights(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 100


def test_damaged_programs(tmp_path):
    """As above, within the program of a .pth, where the archive's checksum does not help."""
    write_weights(tmp_path / "w.pth", arrays())
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    rng, program, refused = np.random.default_rng(2), members.pop("data.pkl"), 0
    for _ in range(1500):
        damaged = bytearray(program)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            read_weights(pth(tmp_path / "damaged.pth", bytes(damaged), **members))
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "damaged.pth"))
            refused += 1
    assert refused > 700
