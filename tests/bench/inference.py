"""One image of 360 x 480 through the lecture's systems: its bytes in, scores of every pixel out."""
from __future__ import annotations

from functools import partial

import train
from systems import SYSTEMS, inference_peers as peers

__all__ = ["SYSTEMS", "figure", "jobs", "markdown", "peers"]

jobs = partial(train.jobs, peers=peers)
markdown = train.markdown
figure = partial(train.figure, what="one image")
