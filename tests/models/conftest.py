import inspect
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tinyseg import Tensor, functional, nn, no_grad


@pytest.fixture
def all_zero(monkeypatch):
    """Models start with zeros: to draw the millions of weights of a large one takes longer than to count them."""
    zero = SimpleNamespace(normal=lambda *_: 0.0, uniform=lambda *_: 0.0)
    monkeypatch.setattr(nn.init, "generator", lambda: zero)


@pytest.fixture
def check_shape_comments():
    """Run model(x) and compare every shape comment in its `forward` with the tensor that the line made.

    symbols(locals of forward) gives the letters of the comments; "2 x" is for a pair.  Every line that makes a tensor must
    have a comment.  Where no model runs all lines, there can be several, of one class.
    """
    def check(model, x, symbols):
        models = model if isinstance(model, list) else [model]
        forward = type(models[0]).forward
        lines, first = inspect.getsourcelines(forward)
        made = {first + i: match for i, line in enumerate(lines)
                if (match := re.match(r"\s+(?:(\w+) = .*\(.*\)\S*|return .*?) +# (2 x )?(\(.*?\))(?:  |$)",
                                      line.rstrip()))}
        makers = [first + i for i, line in enumerate(lines) if re.match(r"\s+(x = |return )", line)]
        bare = [lines[number - first] for number in makers if number not in made]
        assert made and not bare, f"lines without a shape comment: {bare}"
        seen = []

        def compare(lineno, frame, returned=None):
            if lineno in made:
                name, twice, shape = made[lineno].groups()
                value = frame.f_locals[name] if name else returned
                expected = eval(re.sub(r"(\d)([a-z])", r"\1*\2", shape), dict(symbols(frame.f_locals)))
                shapes = [tensor.shape for tensor in (value if twice else [value])]
                assert shapes == [expected] * (2 if twice else 1), f"line {lineno} says {shape} = {expected}, it is {shapes}"
                seen.append(lineno)

        def trace(frame, event, arg):
            if frame.f_code is not forward.__code__:
                return None
            last = frame.f_lineno

            def local(frame, event, arg):
                nonlocal last
                compare(last, frame, arg)
                last = frame.f_lineno
                return local
            return local

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for model in models:
                model(x)
        finally:
            sys.settrace(before)
        assert set(seen) == set(made), f"lines never run: {sorted(set(made) - set(seen))}"
        return len(seen)
    return check


@pytest.fixture
def check_gradients(rng):
    """Along random directions, in all parameters and the image at once, the loss must change as its gradient says.

    The model runs in float64, at a random point: all its parameters are moved from where they start.  The directions
    lean towards the gradient, in every tensor as much, so that the change is not lost in rounding; and the smaller of
    the steps are for points close to a kink of ReLU or max pooling.
    """
    def check(model, shape, directions=2, steps=(1e-6, 1e-7, 1e-8)):
        model.double()
        for parameter in model.parameters():
            parameter.writable()[...] += 0.2 * parameter[0].size**-0.5 * rng.standard_normal(parameter.shape)
        x = Tensor(rng.standard_normal(shape), requires_grad=True)
        labels = rng.integers(0, model.num_classes, (shape[0], *shape[2:]))
        labels[0, 0, 0] = 255

        def loss():
            return functional.cross_entropy(model(x), labels)

        loss().backward()
        tensors = {"image": x, **dict(model.named_parameters())}
        idle = [name for name, tensor in tensors.items() if tensor.grad is None or not tensor.grad.any()]
        assert not idle, f"no gradient for {idle}"
        starts, gradients = [t.numpy().copy() for t in tensors.values()], [t.grad for t in tensors.values()]

        def slope(ways, step):
            values = []
            with no_grad():
                for signed in (step, -step):
                    for tensor, start, way in zip(tensors.values(), starts, ways):
                        tensor.writable()[...] = start + signed * way
                    values.append(loss().item())
            return (values[0] - values[1]) / (2 * step)

        for _ in range(directions):
            ways = [unit(unit(gradient) + unit(rng.standard_normal(gradient.shape))) for gradient in gradients]
            expected, slopes = sum((gradient * way).sum() for gradient, way in zip(gradients, ways)), []
            while expected not in [pytest.approx(found, rel=1e-7) for found in slopes]:
                assert len(slopes) < len(steps), (expected, slopes)
                slopes.append(slope(ways, steps[len(slopes)]))

    def unit(array):
        return array / np.sqrt((array**2).sum())                         # by itself: BLAS would wake its threads to help
    return check
