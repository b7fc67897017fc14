"""
A graph of scalars, by hand, backward
=====================================

What does ``loss.backward()`` do?  It walks through the computation from its end to its beginning and multiplies slopes;
in twenty lines of Python, with nothing but numbers, one can watch it do so.
"""
import math

import matplotlib.pyplot as plt

import tinyseg as ts
from tinyseg import plots, steps

plt.style.use(plots.SLIDE)

# %%
# A number that remembers
# -----------------------
# Each number keeps its *parents*, the numbers that it was computed from, and its *slope* towards each: by how much it
# changes when that parent changes by a little.


class Scalar:
    def __init__(self, value, name, parents=(), slopes=()):
        self.value, self.name, self.parents, self.slopes, self.grad = value, name, parents, slopes, 0.0

    def __add__(self, other): return Scalar(self.value + other.value, "+", (self, other), (1, 1))
    def __sub__(self, other): return Scalar(self.value - other.value, "−", (self, other), (1, -1))
    def __mul__(self, other): return Scalar(self.value * other.value, "×", (self, other), (other.value, self.value))
    def exp(self): return Scalar(math.exp(self.value), "exp", (self,), (math.exp(self.value),))
    def log(self): return Scalar(math.log(self.value), "ln", (self,), (1 / self.value,))

    def history(self):
        """All that this number was computed from, each after its own parents, and itself at the end."""
        before = [node for parent in self.parents for node in parent.history()]
        return list(dict.fromkeys([*before, self]))                         # each once

    def backward(self):
        self.grad = 1.0                                                     # dL/dL
        for node in reversed(self.history()):
            for parent, slope in zip(node.parents, node.slopes):
                parent.grad += node.grad * slope                            # the chain rule; += since there may be more


# %%
# The smallest segmentation network
# ---------------------------------
# One pixel x, two classes with a weight each, and the lecture's loss: -ln of the softmax of the true class, here the
# first.  With logits a = w x and b = v x it is L = ln(eᵃ + eᵇ) - a.


def loss_of(x, w, v):
    a, b = w * x, v * x
    return (a.exp() + b.exp()).log() - a


x, w, v = Scalar(2.0, "x"), Scalar(0.5, "w"), Scalar(0.25, "v")
loss = loss_of(x, w, v)
loss.backward()
print(f"L = {loss.value:.4f},  dL/dx = {x.grad:.4f},  dL/dw = {w.grad:.4f},  dL/dv = {v.grad:.4f}")

sigma = math.exp(w.value * x.value) / (math.exp(w.value * x.value) + math.exp(v.value * x.value))
assert math.isclose(w.grad, (sigma - 1) * x.value)                          # the famous one: σ - y, here times x
assert math.isclose(v.grad, (1 - sigma) * x.value)

# %%
# **See:** every number of the graph with its value, and in blue its gradient dL/d(it).  Gradients flow from right to
# left; x and a feed two others each, and so get the sum of two gradients.
column = {}
for node in loss.history():
    column[node] = max((column[parent] + 1 for parent in node.parents), default=0)
row = {node: [other for other in column if column[other] == column[node]].index(node) for node in column}
figure, ax = plt.subplots(figsize=(13, 5.5))
for node in column:
    for parent in node.parents:
        bend = 0.22 if column[node] - column[parent] > 1 else 0             # around the boxes between
        ax.annotate("", (column[node] - 0.2, -row[node]), (column[parent] + 0.2, -row[parent]),
                    arrowprops={"arrowstyle": "->", "linewidth": 2, "connectionstyle": f"arc3,rad={-bend}"})
    box = {"boxstyle": "round", "facecolor": "white" if node.parents else "0.9"}
    ax.text(column[node], -row[node], f"{node.name}\n{node.value:.3f}", ha="center", va="center", bbox=box)
    ax.text(column[node], -row[node] - 0.33, f"{node.grad:+.3f}", ha="center", va="top", color=plots.BLUE, weight="bold")
ax.set(title="L = ln(eʷˣ + eᵛˣ) − wx: values, and below them gradients", xlim=(-0.5, 5.5), ylim=(-2.7, 0.9))
ax.set_axis_off()
plt.show()

# %%
# tinyseg does the same
# ---------------------
# The same function takes tensors, whose nodes hold arrays instead of numbers.  All three gradients agree.
tensors = {name: ts.Tensor(value, requires_grad=True) for name, value in [("x", 2.0), ("w", 0.5), ("v", 0.25)]}
loss_of(**tensors).backward()
for ours, name in [(x, "x"), (w, "w"), (v, "v")]:
    assert math.isclose(ours.grad, tensors[name].grad, rel_tol=1e-6)        # float32

# %%
# Step by step
# ------------
# A stepper goes the same way, one node a step.  In a notebook, ``run`` alone on the last line of a cell is a slide show
# of all steps.
run = steps.backward(loss_of(**tensors), **tensors)
for number, frame in enumerate(run, start=1):
    print(f"{number:2}  {frame.sentence}")

# %%
# **See:** the last operation is the first to be undone: the subtraction hands dL/dL = 1 on to the logarithm, and -1 to
# a.  Then the exponential of a adds its share to what has arrived at a; and in the end every leaf has its gradient.
added = next(number for number, frame in enumerate(run, start=1) if "added" in frame.sentence)
run.choose([2, added, len(run)]).plot()
plt.show()

# %%
# Why the order matters
# ---------------------
# A number may hand its gradient on only when all of it has arrived, that is, when all that was computed *from* it is
# done.  Here is a backward that is in a hurry, and visits whatever it can reach.


def hasty_backward(loss):
    loss.grad, waiting = 1.0, [loss]
    while waiting:
        node = waiting.pop(0)
        for parent, slope in zip(node.parents, node.slopes):
            parent.grad += node.grad * slope
            waiting.append(parent)


leaves = [Scalar(leaf.value, leaf.name) for leaf in (x, w, v)]
hasty_backward(loss_of(*leaves))
for leaf, right in zip(leaves, (x, w, v)):
    print(f"dL/d{leaf.name}: right {right.grad:+.4f}, in a hurry {leaf.grad:+.4f}")
assert not math.isclose(leaves[1].grad, w.grad)                             # a hands on its first share twice
assert math.isclose(leaves[2].grad, v.grad)                                 # b has only one

# %%
# tinyseg visits nodes from the youngest to the oldest: whatever was computed from a node is younger than it.
#
# **Try:** give ``Scalar`` a ``relu``.  Then replace ``+=`` in ``backward`` by ``=``: which of the gradients survive?
