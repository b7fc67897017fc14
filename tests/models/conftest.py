import inspect
import re
import sys

import pytest


@pytest.fixture
def check_shape_comments():
    """Run model(x) and compare every shape comment in its `forward` with the tensor that the line made.

    symbols(locals of forward) gives the letters of the comments.  Every line that makes a tensor must have a comment.
    """
    def check(model, x, symbols):
        lines, first = inspect.getsourcelines(type(model).forward)
        made = {first + i: match for i, line in enumerate(lines)
                if (match := re.match(r"\s+(?:(\w+) = .*\(.*\)|return .*?) +# (\(.*?\))(?:  |$)", line.rstrip()))}
        makers = [line for line in lines if re.match(r"\s+(x = |return )", line)]
        assert len(makers) == len(made), f"a line without a shape comment among {makers}"
        seen = []

        def compare(lineno, frame, returned=None):
            if lineno in made:
                name, shape = made[lineno].groups()
                value = frame.f_locals[name] if name else returned
                expected = eval(re.sub(r"(\d)([a-z])", r"\1*\2", shape), dict(symbols(frame.f_locals)))
                assert value.shape == expected, f"line {lineno} says {shape} = {expected}, it is {value.shape}"
                seen.append(lineno)

        def trace(frame, event, arg):
            if frame.f_code is not type(model).forward.__code__:
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
            model(x)
        finally:
            sys.settrace(before)
        assert set(seen) == set(made), f"lines never run: {sorted(set(made) - set(seen))}"
        return len(seen)
    return check
