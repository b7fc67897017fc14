"""Files of weights: there and back, what PyTorch and safetensors write is read, and what we write they read."""
import sys

import numpy as np
import pytest

from tinyseg import nn
from tinyseg.weights import read_weights, write_weights

SUFFIXES = (".npz", ".safetensors", ".pth", ".pt")


def arrays():
    rng = np.random.default_rng(0)
    return {"conv.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "double": rng.standard_normal(5),
            "bn.num_batches_tracked": np.array(7), "int32": np.arange(6, dtype=np.int32)[::2],
            "bool": np.array([True, False]), "uint8": np.arange(3, dtype=np.uint8), "file": np.ones((2, 1), np.int8),
            "empty": np.zeros((0, 4), np.float32),
            "transposed": np.arange(6.0).reshape(2, 3).T, "a/b ä": np.ones(2, np.int16), "half": np.ones(2, np.float16)}


def assert_equal(read, expected):
    assert sorted(read) == sorted(expected)
    for name, array in expected.items():
        assert read[name].dtype == (np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("=")), name
        assert read[name].dtype.isnative
        np.testing.assert_array_equal(read[name], array, err_msg=name, strict=array.dtype != np.float16)


def skip_without(suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors", reason="the extra `safetensors` is not installed")


# There and back -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back(suffix, tmp_path):
    skip_without(suffix)
    path = tmp_path / f"weights{suffix.upper() if suffix == '.pt' else suffix}"
    write_weights(path, arrays())
    assert_equal(read_weights(path), arrays())
    write_weights(path, {})
    assert read_weights(path) == {}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_state_dicts(suffix, tmp_path):
    skip_without(suffix)
    model, other = (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)) for _ in range(2))
    write_weights(tmp_path / f"w{suffix}", model.state_dict())
    assert other.load_state_dict(read_weights(tmp_path / f"w{suffix}")) == ([], [])
    assert_equal(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_big_endian_arrays_and_lists(suffix, tmp_path):
    skip_without(suffix)
    write_weights(tmp_path / f"w{suffix}", {"a": np.arange(3, dtype=">f4"), "b": [1.5, 2.5]})
    assert_equal(read_weights(tmp_path / f"w{suffix}"), {"a": np.arange(3, dtype="f4"), "b": np.array([1.5, 2.5])})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("state, message", [
    ({"a": np.array(["x"])}, "a is an array of <U1; expected real numbers"),
    ({"a": np.array([None])}, "a is an array of object"),
    ({"a": np.ones(1, np.complex64)}, "a is an array of complex64"),
    ({3: np.ones(1)}, "3: expected a name"),
])
def test_what_is_not_numbers_is_not_written(suffix, state, message, tmp_path):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=rf"w{suffix}: not written: {message}"):
        write_weights(path, state)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_unsigned_integers_that_pytorch_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="a holds uint16, which PyTorch's files do not know"):
        write_weights(tmp_path / "w.pth", {"a": np.ones(1, np.uint16)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", [read_weights, lambda path: write_weights(path, {})])
@pytest.mark.parametrize("name", ["weights.bin", "weights", "weights.pkl"])
def test_other_suffixes(use, name, tmp_path):
    with pytest.raises(ValueError, match=r"weights end in .npz, .safetensors, .pth, .pt, not in"):
        use(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_cannot_be_opened(suffix, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / f"none{suffix}")
    with pytest.raises(OSError, match="no/such"):
        skip_without(suffix)
        write_weights(tmp_path / f"no/such/folder{suffix}", {})


@pytest.mark.parametrize("use", [read_weights, lambda path: write_weights(path, {"a": np.ones(1)})])
def test_without_the_extra(use, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(ImportError, match=r"pip install 'tinyseg\[safetensors\]'"):
        use(path)
    assert path.read_bytes() == b"old"


# What PyTorch and safetensors write -----------------------------------------------------------------------------------

@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed: only our own files are read")


def saved(torch, path, what, **settings):
    torch.save(what, path, **settings)
    return read_weights(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_state_dict_of_pytorch(protocol, torch, tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 300))
    expected = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert_equal(saved(torch, tmp_path / "w.pth", model.state_dict(), pickle_protocol=protocol), expected)
    assert_equal(saved(torch, tmp_path / "w.pt", dict(model.named_parameters()), pickle_protocol=protocol),
                 {name: parameter.detach().numpy() for name, parameter in model.named_parameters()})


def test_strides_offsets_and_shared_storage(torch, tmp_path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    views = {"base": base, "t": base.transpose(0, 2), "row": base[1, 2], "step": base[:, ::2, 1:], "one": base[1, 1, 1],
             "wide": base[:1, :1, :1].expand(2, 3, 1), "none": base[:0], "flat": base.as_strided((3, 3), (1, 1), 2)}
    read = saved(torch, tmp_path / "w.pth", views)
    assert_equal(read, {name: view.numpy() for name, view in views.items()})
    assert np.shares_memory(read["base"], read["row"])
    assert read["base"].flags.writeable


def test_every_type_of_number(torch, tmp_path):
    kinds = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    tensors = {kind: torch.tensor([0, 1, 3, 127]).to(getattr(torch, kind)) for kind in kinds}
    tensors["bfloat16"] = torch.tensor([1.5, -0.1, float("inf"), 3e38]).bfloat16()
    tensors["scalar"] = torch.tensor(2.5).half()
    as_float = {name: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
                for name, tensor in tensors.items()}
    assert_equal(saved(torch, tmp_path / "w.pth", tensors), {name: tensor.numpy() for name, tensor in as_float.items()})


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict", "net"])
def test_checkpoints_with_other_things_in_them(name, torch, tmp_path):
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, "best": 0.25, "note": "ä", "flags": [True, None, (1, 2, 3, 4), -70000, 2**40],
                  name: model.state_dict(), "optimizer": optimizer.state_dict()}
    assert_equal(saved(torch, tmp_path / "w.pth", checkpoint), {n: t.numpy() for n, t in model.state_dict().items()})


def test_the_usual_name_among_several(torch, tmp_path):
    both = {"ema": {"w": torch.zeros(1)}, "model": {"w": torch.ones(1)}}
    assert_equal(saved(torch, tmp_path / "w.pth", both), {"w": np.ones(1, np.float32)})


@pytest.mark.parametrize("what, message", [
    (lambda torch: {"student": {"w": torch.ones(1)}, "teacher": {"w": torch.ones(1)}},
     r"several state dicts: 'student' \(dict of 1\), 'teacher' \(dict of 1\)"),
    (lambda torch: {"w": torch.ones(2, 3), "epoch": 3}, r"no state dict: 'w' \(tensor \(2, 3\)\), 'epoch' \(int\)"),
    (lambda torch: [torch.ones(1)], "it holds a list, not a state dict"),
    (lambda torch: torch.ones(1), "it holds a ndarray, not a state dict"),
    (lambda torch: torch.nn.Linear(1, 1), r"it asks for torch.nn.modules.linear.Linear, which no state dict needs"),
    (lambda torch: {"w": torch.ones(2).to_sparse()}, "it asks for torch._utils._rebuild_sparse_tensor"),
    (lambda torch: {"w": torch.ones(1, dtype=torch.complex64)}, "it asks for torch.ComplexFloatStorage"),
    (lambda torch: {"when": range(3)}, r"it asks for (builtins.range|__builtin__.xrange)"),
])
def test_what_is_no_state_dict_is_named(what, message, torch, tmp_path):
    torch.save(what(torch), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w.pth: .*{message}"):
        read_weights(tmp_path / "w.pth")


def test_pytorch_before_1_6(torch, tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="before 1.6.*save it anew: torch.save"):
        read_weights(tmp_path / "old.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_ours_load_there(suffix, torch, tmp_path):
    skip_without(suffix)
    path, expected = tmp_path / f"w{suffix}", arrays()
    write_weights(path, expected)
    if suffix == ".pth":
        read = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file
        read = load_file(path)
    assert_equal({name: tensor.numpy() for name, tensor in read.items()}, expected)


def test_safetensors_of_others(torch, tmp_path):
    skip_without(".safetensors")
    from safetensors.torch import save_file
    tensors = {"half": torch.tensor([1.5]).half(), "brain": torch.tensor([-0.1]).bfloat16(), "int": torch.arange(3),
               "bool": torch.tensor([[True]])}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    expected = {**tensors, "half": tensors["half"].float(), "brain": tensors["brain"].float()}
    assert_equal(read_weights(tmp_path / "w.safetensors"), {name: tensor.numpy() for name, tensor in expected.items()})
    save_file({"eight": torch.ones(1).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="eight is a tensor of F8_E4M3; expected one of F64, F32"):
        read_weights(tmp_path / "w.safetensors")
