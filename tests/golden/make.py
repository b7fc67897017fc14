"""Write torch.npz, PyTorch's results on a few configurations of every family.   PYTHONPATH=tests python tests/golden/make.py"""
import json
import pathlib

import numpy as np
from configurations import FAMILIES, draw, run_tinyseg, run_torch, upstream

EACH = 6


def main():
    contents = {}
    for family in FAMILIES:
        for seed in range(EACH):
            configuration = draw(family, 1000 + seed)
            dy = upstream(configuration, run_tinyseg(configuration)["output"].shape)
            prefix = f"{family}/{seed}"
            contents[f"{prefix}/call"] = np.array(json.dumps([configuration.settings, configuration.wanted]))
            contents |= {f"{prefix}/array/{name}": array for name, array in configuration.arrays.items()}
            contents |= {f"{prefix}/result/{name}": array for name, array in run_torch(configuration, dy).items()}
    np.savez_compressed(pathlib.Path(__file__).with_name("torch.npz"), **contents)


if __name__ == "__main__":
    main()
