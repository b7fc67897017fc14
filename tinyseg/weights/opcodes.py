"""The little stack machine that a pickle is a program for, with only those instructions that a state dict needs.

Python's own calls whatever function the program names.  This one knows the names that it is given, and refuses others.
Source: CPython's Lib/pickletools.py, which describes every instruction.
"""
from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

LONGEST = 2**24                          # bytes of program; a state dict needs about 200 for each tensor


class Machine:
    """Runs one program: bytes of instructions, each followed by its argument, that push and pop a stack.

    names: what the program may mention or call, by full name, such as "collections.OrderedDict".
    load: what to put in the place of a reference to something outside the program, such as a tensor's storage.

    >>> Machine(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x07s.", names={}, load=id).run()
    {'a': 7}
    >>> Machine(b"cos\\nsystem\\n.", names={}, load=id).run()
    Traceback (most recent call last):
    ValueError: it asks for os.system, which no state dict needs; nothing of it was run
    """

    def __init__(self, program: bytes, names: dict[str, Any], load: Callable[[Any], Any]):
        if len(program) > LONGEST:
            raise ValueError(f"its program has {len(program)} bytes; no state dict needs more than {LONGEST}")
        self.program, self.position, self.names, self.load = program, 0, names, load
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []                     # for each mark, the stack below it
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the program leaves on the stack.

        ValueError if it asks for another name or an instruction that is not here, or makes no sense.
        """
        try:
            while (code := self.read(1)) != b".":
                if code in PUSH:
                    value = PUSH[code](self)                 # may leave self.stack another one
                    self.stack.append(value)
                elif code in CHANGE:
                    CHANGE[code](self)
                else:
                    raise ValueError(f"instruction 0x{code.hex()} at byte {self.position - 1} is none that a state "
                                     f"dict needs")
            return self.stack[-1]
        except (IndexError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"its program makes no sense at byte {self.position} ({error})") from error

    # Arguments that follow an instruction, and values on the stack ----------------------------------------------------

    def read(self, count: int) -> bytes:
        self.position += count
        if self.position > len(self.program):
            raise ValueError(f"its program ends within an instruction, at byte {len(self.program)}")
        return self.program[self.position - count:self.position]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def text(self, form: str) -> str:
        return self.read(self.number(form)).decode("utf-8", "surrogatepass")

    def line(self) -> str:
        end = self.program.find(b"\n", self.position)
        return self.read((len(self.program) if end < 0 else end) + 1 - self.position)[:-1].decode()

    def pop(self, count: int) -> list[Any]:
        values = self.stack[-count:]
        if len(values) < count:
            raise IndexError("too little on the stack")
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    # What instructions do ---------------------------------------------------------------------------------------------

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def name(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self.names:
            raise ValueError(f"it asks for {full}, which no state dict needs; nothing of it was run")
        return self.names[full]

    def call(self, function: Any, arguments: Any) -> Any:
        if not callable(function):
            raise TypeError(f"calls a {type(function).__name__}")
        return function(*arguments)

    def append(self, values: list[Any]) -> None:
        self.top(list).extend(values)

    def set_items(self, values: list[Any]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in (str, int):                  # the hash of a tuple of tuples of … may never end
                raise TypeError(f"a key is a {type(key).__name__}")
            self.top(dict)[key] = value

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"a {type(self.stack[-1]).__name__} where a {kind.__name__} should be")
        return self.stack[-1]


PUSH: dict[bytes, Callable[[Machine], Any]] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"}": lambda m: {},
    b"]": lambda m: [],
    b")": lambda m: (),
    b"K": lambda m: m.number("<B"),                          # BININT1, 2 and 4 bytes
    b"M": lambda m: m.number("<H"),
    b"J": lambda m: m.number("<i"),
    b"\x8a": lambda m: int.from_bytes(m.read(m.number("<B")), "little", signed=True),
    b"G": lambda m: m.number(">d"),
    b"X": lambda m: m.text("<I"),                            # BINUNICODE
    b"\x8c": lambda m: m.text("<B"),
    b"t": lambda m: tuple(m.pop_to_mark()),
    b"\x85": lambda m: tuple(m.pop(1)),
    b"\x86": lambda m: tuple(m.pop(2)),
    b"\x87": lambda m: tuple(m.pop(3)),
    b"h": lambda m: m.memo[m.number("<B")],                  # BINGET
    b"j": lambda m: m.memo[m.number("<I")],
    b"c": lambda m: m.name(m.line(), m.line()),              # GLOBAL
    b"\x93": lambda m: m.name(*m.pop(2)),
    b"Q": lambda m: m.load(*m.pop(1)),                       # BINPERSID
    b"R": lambda m: m.call(*m.pop(2)),                       # REDUCE
}
CHANGE: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: m.read(1),                            # PROTO
    b"\x95": lambda m: m.read(8),                            # FRAME
    b"(": lambda m: m.mark(),
    b"q": lambda m: m.remember(m.number("<B")),              # BINPUT
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"a": lambda m: m.append(m.pop(1)),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"s": lambda m: m.set_items(m.pop(2)),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"b": lambda m: m.pop(1) and m.top(dict),                # BUILD: a dictionary's attributes, left out
}
