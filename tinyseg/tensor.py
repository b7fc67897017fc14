"""Tensor: an array that remembers how it was computed, so that gradients can flow back.

`apply` runs an op forward and leaves a node of the graph; `Tensor.backward` goes back through the nodes (`graph.py`).  What
an op computes, forward and backward, is in `ops/`.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Union

import numpy as np

from .graph import Node, Source, backward_steps, grad_enabled
from .op import REGISTRY, Array, Context, Op
from .versions import Memory, share_memory

FLOATS = np.dtype(np.float32), np.dtype(np.float64)
Dims = Union[int, tuple[int, ...], None]


class Tensor:
    """An n-dimensional array with a gradient.

    `Tensor(array)` shares the array's memory (as torch.from_numpy does); lists and Python numbers become float32, int64
    or bool.  Only float32 and float64 tensors can require a gradient.  Comparisons give boolean tensors.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([[2., 4.],
           [6., 8.]], dtype=float32)
    """

    __slots__ = ("_array", "_memory", "_requires_grad", "grad", "node", "__weakref__")
    __array_ufunc__ = None            # so that `ndarray * Tensor` comes to Tensor.__rmul__

    def __init__(self, data: Any, requires_grad: bool = False):
        array = _as_array(data)
        self._array = array
        self._memory = Memory(array, handed_out=True)
        self._requires_grad = False
        self.grad: Array | None = None
        self.node: Node | None = None     # what computed this tensor; None for a leaf
        if requires_grad:
            self.requires_grad = True

    # What it is -----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array itself, not a copy.  Writing to it is seen by the tensor, and checked by a pending backward."""
        self._memory.hand_out()
        return self._array

    @data.setter
    def data(self, value: Any) -> None:
        array = _as_array(value)
        if array.shape != self.shape:
            raise ValueError(f"Tensor.data: shape {array.shape} given for a tensor of shape {self.shape}; "
                             f"make a new Tensor to change the shape")
        self._memory.writes += 1
        if array is not self._array:
            self._array, self._memory = array, Memory(array, handed_out=True)

    def writable(self) -> Array:
        """The array, for the engine itself (an optimizer, an initialiser) to write to; counted as one write."""
        self._memory.writes += 1
        return self._array

    @property
    def requires_grad(self) -> bool:
        """Does `backward` reach this tensor?  It can be switched on leaves only."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.node is not None:
            raise RuntimeError("requires_grad: this tensor was computed by an op; only leaves can be switched "
                               "(use .detach() to cut it off the graph)")
        if value and self._array.dtype.kind != "f":
            raise TypeError(f"requires_grad: a tensor of {self.dtype} has no gradient; "
                            f"give it as float32 or float64, e.g. array.astype(np.float32)")
        self._requires_grad = bool(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    def numpy(self) -> Array:
        """The array itself, as `.data`."""
        return self.data

    def item(self) -> Any:
        """The one element of the tensor as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: the tensor has shape {self.shape}, {self.size} elements; only one can be a number")
        return self._array.item()

    def detach(self) -> Tensor:
        """The same array, cut off the graph."""
        return _wrap(self._array, self._memory)

    # Backward -------------------------------------------------------------------------------------------------------

    def backward(self, grad: Any = None) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that it was computed from.

        grad: the gradient of the final objective with respect to this tensor; a scalar tensor needs none (it is 1).
        The graph is freed on the way, so a second backward through it is an error, as is an array that has changed since
        the forward pass (both RuntimeError) and a gradient whose shape does not fit (ValueError).
        """
        deque(backward_steps(self.node or self, _upstream(self, grad)), maxlen=0)     # keeps no gradient, as a loop would

    # Operators and methods, each an op of the registry -----------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor: return _call("add", self, other)
    def __radd__(self, other: Any) -> Tensor: return _call("add", other, self)
    def __sub__(self, other: Any) -> Tensor: return _call("sub", self, other)
    def __rsub__(self, other: Any) -> Tensor: return _call("sub", other, self)
    def __mul__(self, other: Any) -> Tensor: return _call("mul", self, other)
    def __rmul__(self, other: Any) -> Tensor: return _call("mul", other, self)
    def __truediv__(self, other: Any) -> Tensor: return _call("div", self, other)
    def __rtruediv__(self, other: Any) -> Tensor: return _call("div", other, self)
    def __pow__(self, other: Any) -> Tensor: return _call("pow", self, other)
    def __rpow__(self, other: Any) -> Tensor: return _call("pow", other, self)
    def __matmul__(self, other: Any) -> Tensor: return _call("matmul", self, other)
    def __rmatmul__(self, other: Any) -> Tensor: return _call("matmul", other, self)
    def __neg__(self) -> Tensor: return _call("neg", self)
    def __abs__(self) -> Tensor: return _call("abs", self)
    def abs(self) -> Tensor: return _call("abs", self)
    def exp(self) -> Tensor: return _call("exp", self)
    def log(self) -> Tensor: return _call("log", self)
    def sqrt(self) -> Tensor: return _call("sqrt", self)
    def relu(self) -> Tensor: return _call("relu", self)
    def sigmoid(self) -> Tensor: return _call("sigmoid", self)
    def tanh(self) -> Tensor: return _call("tanh", self)

    def sum(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Sum over all elements, or over the given dimension(s)."""
        return _call("sum", self, dim=dim, keepdim=keepdim)

    def mean(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Mean over all elements, or over the given dimension(s)."""
        return _call("mean", self, dim=dim, keepdim=keepdim)

    def max(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Largest element, over everything or the given dimension(s); equal maxima share the gradient (torch.amax)."""
        return _call("max", self, dim=dim, keepdim=keepdim)

    def min(self, dim: Dims = None, keepdim: bool = False) -> Tensor:
        """Smallest element; equal minima share the gradient (torch.amin)."""
        return _call("min", self, dim=dim, keepdim=keepdim)

    def argmax(self, dim: int | None = None) -> Tensor:
        """Index of the (first) largest element; no gradient."""
        return Tensor(self._array.argmax(dim))

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order in another shape; one size may be -1."""
        return _call("reshape", self, shape=_flat(shape))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two dimensions."""
        dims = list(range(self.ndim))
        dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
        return _call("permute", self, dims=tuple(dims))

    def permute(self, *dims: Any) -> Tensor:
        """Reorder the dimensions."""
        return _call("permute", self, dims=_flat(dims))

    @property
    def T(self) -> Tensor:
        """All dimensions in reverse order."""
        return _call("permute", self, dims=tuple(reversed(range(self.ndim))))

    def __getitem__(self, index: Any) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)
        return _call("index", self, index=tuple(p._array if isinstance(p, Tensor) else p for p in parts))

    def __lt__(self, other: Any) -> Tensor: return Tensor(self._array < _array_of(other))
    def __le__(self, other: Any) -> Tensor: return Tensor(self._array <= _array_of(other))
    def __gt__(self, other: Any) -> Tensor: return Tensor(self._array > _array_of(other))
    def __ge__(self, other: Any) -> Tensor: return Tensor(self._array >= _array_of(other))
    def __eq__(self, other: Any) -> Tensor: return Tensor(self._array == _array_of(other))  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: return Tensor(self._array != _array_of(other))  # type: ignore[override]

    # Python's own protocols -------------------------------------------------------------------------------------------

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous; compare .numpy() with "
                             f".any() or .all()")
        return bool(self._array.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a tensor with no dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        body = np.array2string(self._array, separator=", ", prefix="Tensor(")
        tail = f", {self.node.op.name}" if self.node else ", requires_grad" if self._requires_grad else ""
        return f"Tensor({body}, {self.dtype}{tail})"


def apply(op: type[Op], *inputs: Any, **settings: Any) -> Any:
    """Run an op on tensors, arrays, numbers or None, and record it if a gradient may be asked for.

    Returns a Tensor, or a tuple of tensors where the op returns one; only the first of them carries a gradient.
    """
    tensors = _as_tensors(inputs)
    needs = tuple([t is not None and t._requires_grad for t in tensors])
    record = True in needs and grad_enabled()
    context = Context(needs if record else (False,) * len(tensors))
    out = op.forward(context, *[None if t is None else t._array for t in tensors], **settings)
    out, *extras = out if isinstance(out, tuple) else (out,)
    out = np.asarray(out)
    shared = [t._memory for t in tensors if t is not None and share_memory(out, (t._array,))]
    result = _wrap(out, shared[0] if shared else None)
    if record:
        result.node = Node(op, context, tuple([_source(t) for t in tensors]), out, _relied_on(context, tensors, result))
        result._requires_grad = True
    return (result, *(Tensor(extra) for extra in extras)) if extras else result


def _upstream(root: Tensor, grad: Any) -> Array:
    if not root._requires_grad:
        raise RuntimeError("backward: this tensor does not require a gradient; make an input with requires_grad=True, "
                           "and compute outside no_grad()")
    if grad is None:
        if root.size != 1:
            raise RuntimeError(f"backward: a tensor of shape {root.shape} is not a scalar; reduce it with .sum() or "
                               f".mean(), or give its gradient: backward(grad)")
        return np.ones(root.shape, root.dtype)
    array = _array_of(grad)
    if array.shape != root.shape:
        raise ValueError(f"backward: grad has shape {array.shape} but the tensor has shape {root.shape}")
    return array.astype(root.dtype, copy=False)


def _source(tensor: Tensor | None) -> Source | None:
    """What the tensor's gradient is handed to: the node that computed it, or the leaf itself, or nobody."""
    return tensor.node or tensor if tensor is not None and tensor._requires_grad else None


def _relied_on(context: Context, tensors: Sequence[Tensor | None], out: Tensor) -> list:
    """The memories whose arrays forward kept for backward, each with its state now."""
    kept = [value for value in vars(context).values() if isinstance(value, np.ndarray)]
    memories = {t._memory for t in (*tensors, out) if t is not None and share_memory(t._array, kept)}
    return [(memory, memory.stamp()) for memory in memories]


def _wrap(array: Array, memory: Memory | None) -> Tensor:
    """A tensor for an array that the engine made (nobody else holds it), or for a view of another tensor's memory."""
    tensor = Tensor.__new__(Tensor)
    tensor._array, tensor._memory = array, memory or Memory(array, handed_out=False)
    tensor._requires_grad, tensor.grad, tensor.node = False, None, None
    return tensor


def _as_tensors(inputs: tuple[Any, ...]) -> Sequence[Tensor | None]:
    """Python numbers take the dtype of the tensors beside them; the rest is wrapped as it is."""
    if all([x is None or isinstance(x, Tensor) for x in inputs]):
        return inputs
    dtype = next((x.dtype for x in inputs if isinstance(x, (Tensor, np.ndarray)) and x.dtype.kind == "f"), None)
    return [x if x is None or isinstance(x, Tensor)
            else Tensor(np.asarray(x, dtype)) if dtype and isinstance(x, (int, float)) and not isinstance(x, np.generic)
            else Tensor(x) for x in inputs]


def _as_array(data: Any) -> Array:
    """An ndarray of a dtype that the engine knows: float32, float64, an integer, or bool."""
    if isinstance(data, Tensor):
        return data.data
    array = np.asarray(data)
    if not isinstance(data, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype not in FLOATS and array.dtype.kind not in "iub":
        raise TypeError(f"Tensor: {array.dtype} is not supported; give float32, float64, an integer type or bool")
    return array


def _array_of(value: Any) -> Array:
    return value._array if isinstance(value, Tensor) else np.asarray(value)


def _flat(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """`f(1, 2)` and `f((1, 2))` mean the same."""
    return tuple(arguments[0]) if len(arguments) == 1 and not isinstance(arguments[0], int) else arguments


def _call(name: str, *inputs: Any, **settings: Any) -> Tensor:
    return apply(REGISTRY[name], *inputs, **settings)
