"""What an op must declare, and when a declaration is refused."""
import pytest

from tinyseg.op import REGISTRY

DECLARATION = '''
from tinyseg.op import Op, Sample

class Thrice(Op):
    """y = 3x;   dx = {factor} dy"""
    def forward(ctx, x): return 3 * x
    def backward(ctx, dy): return ({factor} * dy,)
    def reference(x): return 3 * x
    def samples(rng): yield Sample((rng.standard_normal(4),))
'''


@pytest.fixture
def declare():
    """Declare `Thrice` in a module of some name."""
    def run(module, source=DECLARATION.format(factor=3)):
        namespace = {"__name__": module}
        exec(source, namespace)
        return namespace["Thrice"]

    yield run
    REGISTRY.pop("thrice", None)


@pytest.mark.parametrize("part", ["forward", "backward", "reference", "samples"])
def test_a_missing_part_is_refused(declare, part):
    with pytest.raises(TypeError, match=f"op Thrice does not declare its {part}"):
        declare("library", DECLARATION.format(factor=3).replace(f"def {part}", "def other"))
    assert "thrice" not in REGISTRY


def test_a_cell_that_is_run_again_replaces_its_op(declare):
    wrong, right = declare("__main__", DECLARATION.format(factor=2)), declare("__main__")
    assert REGISTRY["thrice"] is right is not wrong


@pytest.mark.parametrize("first, second", [("library", "library"), ("library", "__main__"), ("__main__", "library")])
def test_nothing_else_takes_the_place_of_an_op(declare, first, second):
    op = declare(first)
    with pytest.raises(TypeError, match=f"op thrice: declared twice, by {first} and {second}"):
        declare(second)
    assert REGISTRY["thrice"] is op
