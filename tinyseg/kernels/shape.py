"""Moving rows of memory about."""
from __future__ import annotations

from .inner import inner
from .tasks import each_task

PIECE = 16384       # numbers a task moves: few rows must not mean few tasks


@inner
def copy(to, source):
    """to[q] = source[q];  several times faster than assigning slices, which might overlap."""
    for q in range(to.size):
        to[q] = source[q]


@inner
def copy_piece(task, to, to_start, source, source_start, columns):
    pieces = (columns + PIECE - 1) // PIECE
    n, start = task // pieces, task % pieces * PIECE
    end = min(start + PIECE, columns)
    copy(to[n, to_start + start:to_start + end], source[n, source_start + start:source_start + end])


def copy_columns(to, to_start, source, source_start, columns):
    """to[n, to_start + q] = source[n, source_start + q]  for 0 ≤ q < columns."""
    each_task(copy_piece, len(to) * -(-columns // PIECE), (to, to_start, source, source_start, columns))
