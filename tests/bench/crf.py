"""The fully connected CRF's time: 21 classes, 500x375, 5 iterations, set-up (both kernels and their sums) included.

    python tests/bench/crf.py [--image PHOTO.jpg …] [--classes 21 --iterations 5 --rounds 7 --threads 2]

Without photographs: a scene that the library draws, and noise, in which no two pixels are alike: the worst case, as the lattice
then has more vertices than the image has pixels.  The probabilities are those of labels in blocks, with noise.
"""
import argparse
import pathlib
import statistics
import time

import numba
import numpy as np
from PIL import Image

from tinyseg.crf import DenseCRF
from tinyseg.data import Scenes

HEIGHT, WIDTH, BLOCK = 375, 500, 25


def images(paths):
    """{name: uint8 image (375, 500, 3)}"""
    scene, _ = Scenes(1, 125, 4, split="test").read(0)
    found = {"a drawn scene": Image.fromarray(scene)}
    found |= {pathlib.Path(path).name: Image.open(path).convert("RGB") for path in paths}
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return {name: np.asarray(image.resize((WIDTH, HEIGHT))) for name, image in found.items()} | {"noise": noise}


def noisy_probabilities(classes):
    """(C, 375, 500) float32"""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, (HEIGHT // BLOCK, WIDTH // BLOCK)).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
    scores = rng.standard_normal((classes, HEIGHT, WIDTH)).astype(np.float32)
    powers = np.exp(scores + 2 * (labels == np.arange(classes)[:, None, None]))
    return (powers / powers.sum(axis=0)).astype(np.float32)


def seconds(probabilities, image, iterations):
    """(set-up, iterations, vertices of the lattice)"""
    start = time.perf_counter()
    crf = DenseCRF(probabilities, image)
    ready = time.perf_counter()
    for _ in crf.mean_field(iterations):
        pass
    return ready - start, time.perf_counter() - ready, crf.kernels[0][1].gaussian.starts[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", nargs="+", default=[], help="photographs")
    for option, default in [("classes", 21), ("iterations", 5), ("rounds", 7), ("threads", 2)]:
        parser.add_argument(f"--{option}", type=int, default=default)
    args = parser.parse_args()
    numba.set_num_threads(args.threads)
    probabilities = noisy_probabilities(args.classes)
    print(f"{args.classes} classes, {WIDTH}x{HEIGHT}, {args.iterations} iterations, {args.threads} threads; medians of "
          f"{args.rounds}, in ms")
    for name, image in images(args.image).items():
        seconds(probabilities, image, 1)                               # compiled
        setup, passes, vertices = zip(*(seconds(probabilities, image, args.iterations) for _ in range(args.rounds)))
        total = statistics.median(s + p for s, p in zip(setup, passes))
        print(f"{name:16} {1e3 * total:5.0f} = set-up {1e3 * statistics.median(setup):4.0f} + iterations, each "
              f"{1e3 * statistics.median(passes) / args.iterations:4.0f}   ({vertices[0]} vertices)", flush=True)


if __name__ == "__main__":
    main()
