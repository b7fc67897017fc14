import gc
import threading
import weakref

import numpy as np
import pytest

from tinyseg import Tensor, graph, no_grad
from tinyseg import functional as F
from tinyseg.graph import backward_steps, grad_enabled


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


def test_a_graph_deeper_than_pythons_recursion_limit():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1e-3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 1)
    del y
    gc.collect()


def test_a_diamond_of_additions_costs_one_step_each():
    x = leaf(1.0)
    y = x
    for _ in range(30):
        y = y + y
    steps = list(backward_steps(y.node, np.ones(1)))
    assert len(steps) == 30
    assert x.grad == [2.0**30]


def test_every_use_is_added_before_a_node_hands_on():
    a = leaf(3.0)
    b = a * a
    c = b + a
    (b * c).backward()                       # a²(a² + a): 4a³ + 3a²
    np.testing.assert_allclose(a.grad, 4 * 27 + 3 * 9)


def test_leaves_accumulate_over_backward_passes():
    x = leaf(1.0, 2.0)
    for _ in range(3):
        (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad, 6)


def test_gradients_of_two_leaves_are_not_one_array():
    x, y = leaf(1.0), leaf(2.0)
    upstream = np.ones(1)
    (x + y).backward(upstream)
    x.grad += 1
    assert y.grad == 1 and upstream == 1


def test_a_gradient_is_added_in_place_only_where_nobody_else_has_it():
    x, upstream = leaf(1.0, -2.0), np.array([3.0, 5.0])
    y = x * 2
    first, second, third = y + 0, -y, y * 7          # their gradients for y: the upstream itself, and two new arrays
    (first + second + third).backward(upstream)
    np.testing.assert_array_equal(x.grad, 14 * np.array([3.0, 5.0]))
    np.testing.assert_array_equal(upstream, [3.0, 5.0])


def test_large_gradients_are_added_as_small_ones_are(rng):
    x = Tensor(rng.standard_normal((3, graph.LARGE // 8)), requires_grad=True)
    y = x * 2
    parts = y * 3, y.reshape(-1, 3), y.T * y.T, y.sum()          # gradients: new; a view; in another order; one number repeated
    upstream = rng.standard_normal(x.shape)
    ((parts[0] + y) * Tensor(upstream) + parts[1].reshape(x.shape) + parts[2].T + parts[3]).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * (4 * upstream + 1 + 2 * y.numpy() + x.size), rtol=1e-12)


def test_a_sum_goes_into_whichever_of_the_two_is_new():
    x, upstream = leaf(1.0, -2.0), np.array([3.0, 5.0])
    y = x * 2
    steps = backward_steps((y + y * 3).node, upstream)         # y's gradients: the upstream itself, and then a new array
    (_, from_sum), (_, from_product), (total, _) = [(dy, handed_on.get(y.node)) for _, dy, handed_on in steps]
    assert from_sum is upstream and total is from_product
    np.testing.assert_array_equal(upstream, [3.0, 5.0])
    np.testing.assert_array_equal(x.grad, 8 * upstream)


def test_a_gradient_that_the_op_keeps_or_hands_out_twice_is_nobodys_own():
    class Hoarder:
        name = "hoarder"

        @staticmethod
        def forward(ctx, a, b):
            ctx.kept = np.ones_like(a)
            return a + b

        @staticmethod
        def backward(ctx, dy):
            contexts.append(ctx.kept)
            return ctx.kept, ctx.kept[...]

    from tinyseg.tensor import apply
    contexts = []
    for hoarder_comes_first in (True, False):
        a, b = leaf(1.0), leaf(2.0)
        twice = a + a if hoarder_comes_first else None       # the youngest node is the first on the way back
        hoarded = apply(Hoarder, a, b)
        (hoarded + (twice or a + a)).sum().backward()
        assert contexts[-1] == 1 and a.grad == 3 and b.grad == 1
        a.grad += 1
        assert contexts[-1] == 1 and b.grad == 1


def test_what_backward_steps_yields_holds_until_the_next_step():
    x = leaf(1.0)
    y = x * 2
    out = (-y) + (-y) + (-y)
    seen = [(dy.copy(), [dx.copy() for dx in handed_on.values()]) for _, dy, handed_on in backward_steps(out.node, np.ones(1))]
    assert [dx for _, dxs in seen for dx in dxs].count(-1) == 3            # each share as it was handed on, none a sum
    assert x.grad == -6


def test_no_gradient_for_what_did_not_ask():
    x, constant = leaf(1.0), Tensor(np.ones(1))
    (x * constant).backward()
    assert constant.grad is None and x.grad is not None


def test_backward_without_a_graph():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor(1.0).backward()


def test_a_leaf_is_its_own_gradients_end():
    x = leaf(1.0)
    x.backward()
    assert x.grad == 1


def test_backward_of_a_non_scalar_needs_a_gradient():
    with pytest.raises(RuntimeError, match="not a scalar"):
        (leaf(1.0, 2.0) * 2).backward()


def test_a_gradient_of_another_shape():
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        (leaf(1.0, 2.0) * 2).backward(np.ones(3))


def test_a_second_backward_through_a_freed_graph():
    y = (leaf(1.0) * 2).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_a_partly_freed_graph_changes_no_gradient():
    x = leaf(2.0)
    shared = x * x
    shared.sum().backward()
    x.grad = None
    with pytest.raises(RuntimeError, match="freed"):
        (shared * x).sum().backward()
    assert x.grad is None


def test_requires_grad_can_be_switched_on_leaves_only():
    x = leaf(1.0)
    x.requires_grad = False
    assert not (x * 2).requires_grad
    with pytest.raises(RuntimeError, match="leaves"):
        (leaf(1.0) * 2).requires_grad = False


@pytest.mark.parametrize("write", [
    lambda x, y: x.data.__setitem__(0, 9.0), lambda x, y: y.data.__setitem__(0, 9.0), lambda x, y: x.data.fill(9.0),
    lambda x, y: setattr(x, "data", np.full(2, 9.0)), lambda x, y: x.writable().fill(9.0), lambda x, y: x.numpy().sort(),
])
def test_an_array_changed_between_forward_and_backward(write):
    x = leaf(2.0, 1.0)
    y = x.exp() * x
    exp = x.exp()
    out = (exp * y).sum()
    write(x, exp)
    with pytest.raises(RuntimeError, match="changed since the forward pass"):
        out.backward()
    assert x.grad is None


def test_a_view_handed_out_before_the_forward_pass():
    array = np.array([2.0, 1.0])
    x = Tensor(array, requires_grad=True)
    y = (x.reshape(2, 1) * x).sum()
    array[1] = 5
    with pytest.raises(RuntimeError, match="changed"):
        y.backward()


def test_looking_is_not_changing():
    x = leaf(2.0, 1.0)
    y = x * x
    x.data, y.data, x.numpy()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [4, 2])


def test_what_backward_does_not_need_may_change():
    x = leaf(2.0, 1.0)
    y = x + 1
    x.data[0] = 7
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 1)


def test_no_grad_as_context_and_decorator_nested_and_after_an_error():
    @no_grad()
    def double(x):
        return x * 2

    x = leaf(1.0)
    assert not double(x).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad(), no_grad():
        1 / 0
    assert grad_enabled() and (x * 2).requires_grad


def test_no_grad_holds_for_its_own_thread_only():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_memory_goes_as_backward_goes_and_unneeded_results_at_once():
    x = leaf(1.0)
    needed = x.exp()                          # exp keeps its result
    added = needed + 1                        # addition keeps nothing
    arrays = [weakref.ref(needed), weakref.ref(added)]
    node = needed.node
    y = (added * 1).sum()
    del needed, added
    assert [ref() for ref in arrays] == [None, None]
    y.backward()
    assert not node.alive and node.parents == ()


def test_an_op_that_returns_a_wrong_gradient_is_named():
    class Wrong:
        name = "wrong"

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, dy):
            return (dy[:1],)

    from tinyseg.tensor import apply
    with pytest.raises(ValueError, match=r"wrong: backward returned a gradient of shape \(1,\)"):
        apply(Wrong, leaf(1.0, 2.0)).sum().backward()


def test_unused_branches_are_not_visited():
    x = leaf(1.0)
    F.relu(x)
    y = x * 2
    assert len(list(backward_steps(y.node, np.ones(1)))) == 1
