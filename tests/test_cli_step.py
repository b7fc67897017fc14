"""`tinyseg step`: what it prints, writes and refuses, and what it does at a terminal."""
import os
import re
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numba import njit
from PIL import Image

from tinyseg import steps
from tinyseg.cli import main

# tinyseg as a terminal's own program, so that Ctrl-C reaches it, which a shell's background jobs are told to ignore
START = ("import fcntl, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
         "signal.signal(signal.SIGINT, signal.default_int_handler); from tinyseg.cli import main; sys.exit(main(sys.argv[1:]))")
SMALL = ["--input", "1 2 3; 4 5 6", "--kernel", "1 10", "--padding", "0"]


def test_alone_it_lists_the_steppers_and_their_options(capsys):
    assert main(["step"]) == 0
    out = capsys.readouterr().out
    for name in steps.STEPPERS:
        assert f"\n{name}\n" in out
    assert "--input --kernel --stride --padding --dilation --output-padding" in out


def test_its_help_ends_with_the_steppers_in_a_line_each(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as status:
        main(["step", "--help"])
    out = capsys.readouterr().out
    lines = out.partition("steppers:\n")[2].splitlines()
    assert status.value.code == 0 and [line.split()[0] for line in lines] == list(steps.STEPPERS)
    assert all(re.match(r"  [a-z0-9-]+ +\w+ ?\w", line) for line in lines) and max(map(len, out.splitlines())) <= 80


def test_piped_it_prints_plain_text(capsys):
    assert main(["step", "conv", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "5 of 5: Output (1, 1): the 2 products of window and kernel sum to 65." in out
    assert re.search(r"Output\n.* 21  32\n.* 54 \[65\]\n", out)
    assert re.search(r"\n 4 \(5\)\(6\) ", out), "what is read stands in brackets"


def test_a_reader_that_leaves_is_no_error():
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-m", "tinyseg", "step"], stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert done.stderr == b"" and done.returncode == 141


def test_it_says_once_that_kernels_compile(capsys, monkeypatch):
    def compiling(input=None):
        for offset in 1, 2:
            njit(lambda x: x + offset)(1.0)
        return steps.conv()

    assert main(["step", "conv"]) == 0 and not capsys.readouterr().err
    monkeypatch.setitem(steps.STEPPERS, "conv", compiling)
    assert main(["step", "conv"]) == 0
    assert re.fullmatch("compiling kernels, once per machine: .*\n", capsys.readouterr().err)


def test_its_help_explains_the_letters_of_the_code(capsys):
    with pytest.raises(SystemExit):
        main(["step", "--help"])
    help = set(re.findall(r"\w+", capsys.readouterr().out))
    for name in "conv", "conv-transpose":
        letters = set(re.findall(r"\b(?:[skd][hw]|[xwy]g)\b", " ".join(frame.code for frame in steps.STEPPERS[name]())))
        assert letters and letters <= help


@pytest.mark.parametrize("suffix, write", [
    (".npy", np.save), (".csv", lambda path, a: np.savetxt(path, a, delimiter=",")), (".txt", np.savetxt)])
def test_numbers_from_files(tmp_path, capsys, suffix, write):
    write(tmp_path / f"image{suffix}", np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert main(["step", "conv", *SMALL]) == 0
    inline = capsys.readouterr().out
    assert main(["step", "conv", "--input", str(tmp_path / f"image{suffix}"), *SMALL[2:]]) == 0
    assert capsys.readouterr().out == inline


def test_files(tmp_path, capsys):
    names = {kind: str(tmp_path / f"steps.{kind}") for kind in ("html", "gif", "png")}
    arguments = [part for kind, name in names.items() for part in (f"--{kind}", name)]
    assert main(["step", "max-pool", "--frames", "1,3-4", *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == [f"3 frames in {name}" for name in names.values()]
    assert steps.max_pool()[2].sentence in (tmp_path / "steps.html").read_text(encoding="utf-8")
    for kind in "gif", "png":
        with Image.open(names[kind]) as image:
            assert image.format.lower() == kind and getattr(image, "n_frames", 1) == (3 if kind == "gif" else 1)


@pytest.mark.parametrize("arguments, parts", [
    (["konv"], ["step konv", "there are conv, conv-strided"]),
    (["conv", "--label", "3"], ["step conv: takes no --label", "--input, --kernel, --stride"]),
    (["conv", "--strid", "3"], ["unknown argument --strid", "did you mean --stride?"]),
    (["conv", "--stride", "two"], ["--stride", "'two' is neither a number nor two"]),
    (["conv", "--stride", "0"], ["conv: stride=0: expected at least 1"]),
    (["conv", "--padding", "1,2,3"], ["--padding", "'1,2,3'"]),
    (["conv", "--kernel", "1 x"], ["--kernel", "'1 x' is neither numbers", "nor a file"]),
    (["conv", "--kernel", "1 2; 3"], ["--kernel", "rows of 2, 1 numbers"]),
    (["conv", "--kernel", ""], ["--kernel", "neither numbers"]),
    (["conv", "--input", "nowhere.npy"], ["--input", "nowhere.npy: No such file"]),
    (["conv", "--input", "broken.npy"], ["--input", "broken.npy: not rows of numbers"]),
    (["conv", "--input", "words.txt"], ["--input", "words.txt: not rows of numbers"]),
    (["conv", "--input", "empty.csv"], ["--input", "empty.csv: holds no numbers"]),
    (["conv", "--input", "inf"], ["conv: input", "not finite"]),
    (["conv", "--kernel", "1 1 1 1 1 1 1"], ["conv: kernel width 7", "padded input's 6"]),
    (["conv-transpose", "--padding", "5"], ["conv-transpose: the output would be -1x-1"]),
    (["conv-transpose", "--output-padding", "2"], ["conv-transpose: output_padding=(2, 2)", "less than the stride"]),
    (["bilinear", "--align-corners", "perhaps"], ["--align-corners", "'perhaps' is neither yes nor no"]),
    (["cross-entropy", "--label", "two"], ["--label", "'two'"]),
    (["conv", "--frames", "0"], ["--frames", "'0' is no list of frames"]),
    (["conv", "--frames", "4-2"], ["--frames", "'4-2' is no list of frames"]),
    (["conv", "--frames", "18"], ["frames: there is no frame 18; there are 1 to 17"]),
    (["conv", "--html", "nowhere/x.html"], ["nowhere/x.html: No such file or directory"]),
    (["conv", "--gif", "x.gif", "--seconds", "0"], ["--seconds 0: expected 0.02 to 600"]),
    (["bilinear", "--size", "9", "--png", "x.png"], ["png: 81 frames on one sheet", "choose some of them"]),
])
def test_bad_input_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY broken")
    (tmp_path / "words.txt").write_text("one two\n")
    (tmp_path / "empty.csv").write_text("\n")
    before = sorted(os.listdir())
    assert main(["step", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tinyseg: ") and err.count("\n") == 1
    for part in parts:
        assert part in err
    assert sorted(os.listdir()) == before, "files have changed"


class Terminal:
    """A terminal of 80x24 with `tinyseg step` in it."""

    def __init__(self, *arguments, **environment):
        pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
        self.termios = termios
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.resize(24, 80)
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen([sys.executable, "-c", START, "step", *arguments], stdin=self.slave,
                                        stdout=self.slave, stderr=self.slave, start_new_session=True,
                                        env={**clean, "TERM": "xterm-256color", **environment})
        self.seen = ""

    def resize(self, rows, columns):
        import fcntl
        import struct
        fcntl.ioctl(self.master, self.termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self, text):
        """Read until the text has come; returns everything since the screen was last cleared."""
        until = time.monotonic() + 60
        while text not in self.seen.rpartition("\x1b[2J")[2]:
            ready = select.select([self.master], [], [], max(0, until - time.monotonic()))[0]
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.master, 1 << 16).decode()
        return self.seen.rpartition("\x1b[2J")[2]

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        """The exit status, after which the terminal must be as it was."""
        status = self.process.wait(60)
        while select.select([self.master], [], [], 0.2)[0]:
            self.seen += os.read(self.master, 1 << 16).decode()
        assert self.termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        assert self.seen.rindex("\x1b[?25h") > self.seen.rindex("\x1b[?25l"), "the cursor is hidden"
        assert self.seen.rindex("\x1b[?1049l") > self.seen.rindex("\x1b[?1049h")
        return status

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    opened = []

    def start(*arguments, **environment):
        opened.append(Terminal(*arguments, **environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.slow
def test_keys_go_back_and_forth(terminal):
    run = steps.conv_transpose()
    window = terminal("conv-transpose")
    window.wait("1 of 34")
    for keys, expected in [("\x1b[C", 2), ("\r", 3), (" ", 4), ("\x1b[D", 3), ("\x1bOB", 4), ("b", 3), ("\x1b[F", 34),
                           ("\x1b[C", 34), ("\x1b[H", 1), ("\x1b[D", 1), ("\x1b[C\x1b[C\x1b[C", 4), ("x\x1b[15~", 4)]:
        window.press(keys)
        time.sleep(0.1)
        shown = window.wait(f"{expected} of 34")
    assert run[3].sentence in shown
    window.press("q")
    assert window.end() == 0


@pytest.mark.slow
def test_what_fits_and_what_does_not(terminal):
    window = terminal("conv-transpose", "--frames", "33")
    shown = window.wait("q quit")
    lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).split("\r\n")
    assert len(lines) == 24 and max(map(len, lines)) <= 80
    assert any("7.25" in line for line in lines), "the last row of the canvas"
    window.resize(12, 60)
    window.wait("not all is shown: enlarge the window")
    shown = window.wait("q quit")
    assert shown.count("\r\n") == 11
    window.press("q")
    assert window.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("environment, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_and_no_color(terminal, environment, coloured):
    window = terminal("max-pool", **environment)
    shown = window.wait("q quit")
    assert ("\x1b[30;46m" in shown) is coloured and bool(re.search(r"\x1b\[[\d;]*m", shown)) is coloured
    assert ("[5]" in shown) is not coloured
    window.press("q")
    assert window.end() == 0


@pytest.mark.slow
def test_ctrl_c_leaves_the_terminal_as_it_was(terminal):
    window = terminal("conv")
    window.wait("1 of 17")
    window.press("\x03")
    assert window.end() == 130
    assert window.seen.rstrip().endswith("tinyseg: interrupted")


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_text(terminal):
    window = terminal("max-pool", TERM="dumb")
    window.wait("8 of 8")
    assert window.process.wait(60) == 0 and "\x1b" not in window.seen


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("columns", range(20, 81, 6))
def test_a_window_that_is_too_narrow_never_cuts_a_number_in_two(colour, columns):
    from tinyseg.steps.terminal import screen

    run = steps.conv_matrix(np.arange(16.0).reshape(4, 4) + 100, np.full((3, 3), 12.5))
    for index in 0, 17, len(run) - 1:
        lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen(run, index, columns, 60, colour)).split("\n")
        assert max(map(len, lines)) <= columns
        panels = lines[lines.index("") + 1:-1]
        shown = {word for line in panels for word in re.findall(r"[\d.]+", line)}
        whole = {steps.frames.number(value) for panel in run[index].panels for value in panel.values.flat}
        assert shown <= whole


@pytest.mark.parametrize("name", steps.STEPPERS)
def test_what_a_stepper_shows_by_itself_fits_a_window_of_80_by_24(name):
    from tinyseg.steps.terminal import screen

    run = steps.STEPPERS[name]()
    for index in range(len(run)):
        for colour in True, False:
            lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen(run, index, 80, 24, colour)).split("\n")
            assert len(lines) == 24 and max(map(len, lines)) <= 80
            assert "q quit" in lines[-1] and "not all is shown" not in lines[-2], index
            assert all(word in lines[-2] for role, word in run.used_legend.items() if colour or role != "padding")
            assert "".join(run[index].code.split()) in "".join("".join(lines).split()), "the code is cut off"


def test_the_key_is_in_the_colours_of_the_cells():
    from tinyseg.steps.terminal import STYLES, screen

    shown = screen(steps.conv(), 1, 80, 24, True)
    for style, name, value in zip(STYLES[1:], ["read", "written", "padding"], ["0.25", "3.75", "0"]):
        assert re.search(rf"{re.escape(style)} +{name} ", shown) and re.search(rf"{re.escape(style)} +{value}\x1b", shown)
    assert "(…) read, […] written" in screen(steps.conv(), 1, 80, 24, False)


def test_a_grid_wider_than_the_window_is_cut_between_columns():
    from tinyseg.steps.terminal import screen

    run = steps.Steps("", [steps.Frame("", (steps.frames.grid("G", [[10, 20, 30], [40, 50, 60]], rows=["r", "s"],
                                                              columns=["a", "b", "c"]),))])
    lines = [line.split() for line in screen(run, 0, 12, 24, False).split("\n")[3:10]]
    assert lines == [["a", "b"], ["r", "10", "20"], ["s", "40", "50"], [], ["c"], ["r", "30"], ["s", "60"]]
