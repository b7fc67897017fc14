"""A shape that does not fit inside a model: the error tells which layers ran, what came out, and which one failed."""
import threading

import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, nn
from tinyseg.cli import _report
from tinyseg.nn.ledger import LEDGER


class Up(nn.Module):
    """Joins a map and its skip."""

    def __init__(self, channels):
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x, skip):
        return self.conv(F.cat([F.interpolate(x, scale_factor=2), skip], dim=1))


class Net(nn.Module):
    """An encoder that halves rounding down, and a decoder that doubles: odd sizes do not fit."""

    def __init__(self):
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.down = nn.ModuleList([nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)])
        self.up = Up(4)

    def forward(self, image):
        skip = self.stem(image)
        x = skip
        for layer in self.down:
            x = layer(x)
        return self.up(x, skip)


def image(*shape):
    return Tensor(np.zeros(shape, np.float32))


def message_of(call, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert LEDGER.done is None and LEDGER.error is None, "nothing is kept"
    return str(caught.value)


def test_a_layer_that_expects_other_channels():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(16, 4, 1), nn.ReLU()))
    alone = message_of(lambda: F.conv2d(image(2, 8, 6, 6), net[1][0].weight))
    first, empty, *table = message_of(lambda: net(image(2, 3, 8, 8))).split("\n")
    assert first == alone and "8 channels" in first and empty == ""
    assert [line.split(maxsplit=2) for line in table] == [
        ["layer", "type", "output"],
        ["0.0", "Conv2d", "(2, 8, 6, 6)"],
        ["0.1", "ReLU", "(2, 8, 6, 6)"],
        ["1.0", "Conv2d", "failed, given (2, 8, 6, 6)"]]


def test_a_decoder_whose_parts_differ_in_size():
    first, _, *table = message_of(lambda: Net()(image(1, 3, 9, 8))).split("\n")
    assert first.startswith("cat: shapes (1, 4, 8, 8) and (1, 4, 9, 8) differ")
    assert [line.split(maxsplit=2) for line in table[1:]] == [
        ["stem.0", "Conv2d", "(1, 4, 9, 8)"], ["stem.1", "ReLU", "(1, 4, 9, 8)"],
        ["down.0", "MaxPool2d", "(1, 4, 4, 4)"], ["down.1", "Conv2d", "(1, 4, 4, 4)"],
        ["up", "Up", "failed, given (1, 4, 4, 4), (1, 4, 9, 8)"]]
    assert Net()(image(1, 3, 8, 8)).shape == (1, 4, 8, 8)


def test_numpys_own_errors_and_the_first_layer():
    class Adds(nn.Module):
        def forward(self, x):
            return x + np.ones((2, 5))

    first, _, _, failed = message_of(lambda: nn.Sequential(Adds())(image(3, 4))).split("\n")
    assert "(3,4)" in first.replace(" ", "") and failed.split() == "0 Adds failed, given (3, 4)".split()


def test_a_model_that_refuses_its_input_at_once_needs_no_table():
    assert "\n" not in message_of(lambda: nn.Linear(7, 2)(image(1, 3)))


def test_a_module_without_a_path_and_one_of_two():
    class Hides(nn.Module):
        def __init__(self):
            self.shared = self.again = nn.ReLU()

        def forward(self, x):
            return nn.Linear(7, 2)(self.again(x))

    *_, shared, hidden = message_of(lambda: Hides()(image(1, 3))).split("\n")
    assert shared.split()[:2] == ["shared", "ReLU"] and hidden.split()[:3] == ["-", "Linear", "failed,"]


def test_of_a_deep_model_the_last_layers():
    net = nn.Sequential(*[nn.ReLU() for _ in range(100)], nn.Linear(7, 2))
    lines = message_of(lambda: net(image(1, 3))).split("\n")
    assert len(lines) == 2 + 1 + 1 + 40 + 1 and lines[3].split() == ["…", "60", "more"] and lines[4].split()[0] == "60"


@pytest.mark.parametrize("error", [ValueError("no such mode"), KeyError("shape"), RuntimeError("channels"), ValueError()])
def test_other_errors_are_left_alone(error):
    class Refuses(nn.Module):
        def forward(self, x):
            raise error

    arguments = error.args
    message_of(lambda: nn.Sequential(nn.ReLU(), Refuses())(image(1)), type(error))
    assert error.args is arguments


def test_an_error_that_a_model_catches_is_not_the_one_that_counts():
    class Tries(nn.Module):
        def __init__(self):
            self.wrong, self.right = nn.Linear(7, 2), nn.Linear(3, 2)

        def forward(self, x):
            try:
                return self.wrong(x)
            except ValueError:
                return self.right(x)

    net = nn.Sequential(Tries(), nn.Linear(9, 2))
    *_, failed = message_of(lambda: net(image(1, 3))).split("\n")
    assert failed.split()[:2] == ["1", "Linear"]
    assert net[0](image(1, 3)).shape == (1, 2) and LEDGER.done is None


def test_threads_keep_ledgers_of_their_own():
    messages, inside = [], threading.Barrier(2, timeout=60)

    class Waits(nn.Module):
        def forward(self, x):
            inside.wait()
            return x

    def run(width):
        net = nn.Sequential(Waits(), nn.ReLU(), Waits(), nn.Linear(9, 2))
        messages.append(message_of(lambda: net(image(1, width))))

    threads = [threading.Thread(target=run, args=(width,)) for width in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(message.count("(1, 3)") for message in messages) == [0, 5]       # the first line, three layers, the fourth


def test_the_command_line_stays_at_one_line(capsys):
    _report(message_of(lambda: Net()(image(1, 3, 9, 8))), 2)
    err = capsys.readouterr().err
    assert err.startswith("tinyseg: cat: shapes") and err.count("\n") == 1 and "Conv2d" not in err
