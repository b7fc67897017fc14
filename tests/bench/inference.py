"""One image of 360 x 480 through the lecture's systems: its bytes in, scores of every pixel out."""
from __future__ import annotations

from functools import partial

import train
from systems import SYSTEMS as TRAINED, inference_peers as peers

FUSED = ("U-Net 16", "SegNet 16", "DeepLab v3 32")       # those with batch norm, folded into the convolutions: on both sides
SYSTEMS = {**TRAINED, **{f"{name}, fused": TRAINED[name].fused() for name in FUSED}}

jobs = partial(train.jobs, systems=SYSTEMS, peers=peers)
markdown = train.markdown
figure = partial(train.figure, what="one image")
