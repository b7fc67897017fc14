"""`tinyseg summary`, `gradcheck`, `demo` and `warmup`"""
from __future__ import annotations

import argparse

from .common import (MODEL_OPTIONS, add_command, add_model_options, announce_compilation, build_model, load_checkpoint,
                     seed)


def add(commands: argparse._SubParsersAction) -> None:
    parser = add_command(commands, "summary", summary, "list a model's layers: shapes, work, receptive fields")
    parser.add_argument("model", metavar="MODEL|RUN|CHECKPOINT", help="name of a model, such as unet, or a trained one")
    add_model_options(parser)
    parser.add_argument("--classes", type=int, default=21, help="number of classes (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("HEIGHT", "WIDTH"),
                        help="of the image (default: 128 128)")
    parser.add_argument("--picture", metavar="PNG", help="also draw the feature maps, with all skips")

    parser = add_command(commands, "gradcheck", gradcheck, "check the gradients of all ops")
    parser.add_argument("ops", nargs="*", metavar="OP", help="names of ops (default: all that are registered)")

    parser = add_command(commands, "demo", demo, "train a U-Net on drawn scenes, and show it in one picture")
    parser.add_argument("--out", default="demo.png", metavar="PNG", help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="of weights and order (default: %(default)s)")

    add_command(commands, "warmup", warmup, "compile all kernels now, so that nothing waits later")


def summary(options: argparse.Namespace) -> int:
    from ..files import require_writable
    from ..models import MODELS, UNet
    from ..models.summary import summary

    if options.picture:
        require_writable(options.picture)
    if options.model in MODELS:
        model = build_model(options.model, options.classes, {name: getattr(options, name) for name, _, _ in MODEL_OPTIONS})
    else:
        model = load_checkpoint(options.model)[1].build()
    shape = (1, getattr(model, "in_channels", 3), *options.size)
    print(summary(model, shape))
    if options.picture:
        from .. import plots
        from ..models.diagram import diagram
        plots.save(plots.model_diagram(diagram(model, shape), descending=isinstance(model, UNet)), options.picture)
    return 0


def gradcheck(options: argparse.Namespace) -> int:
    from ..gradcheck import main_table

    announce_compilation()
    text, ok = main_table(options.ops)
    print(text)
    return 0 if ok else 1


def demo(options: argparse.Namespace) -> int:
    from .. import demo

    announce_compilation()
    demo.run(options.out, options.seed)
    return 0


def warmup(options: argparse.Namespace) -> int:
    """Run every op on its own samples, without a gradient and with one, and every optimizer, in both precisions.

    And convolutions with more channels or pixels than samples have: `backends` has other algorithms for them (Winograd's, taps,
    products, strided).
    """
    import numpy as np
    from tqdm import tqdm

    from ..functional import conv2d
    from ..op import REGISTRY, Context
    from ..tensor import Tensor
    from ..training import OPTIMIZERS

    announce_compilation()
    for op in tqdm(REGISTRY.values(), desc="compiling kernels", unit="op"):
        for sample in op.samples(np.random.default_rng(0)):
            for dtype in (np.float32, np.float64):
                real = [x is not None and x.dtype.kind == "f" for x in sample.arrays]
                arrays = [x.astype(dtype) if is_real else x for x, is_real in zip(sample.arrays, real)]
                op.forward(Context((False,) * len(arrays)), *arrays, **sample.settings)
                context = Context(tuple(real))
                out = op.forward(context, *arrays, **sample.settings)
                op.backward(context, np.ones_like(out[0] if isinstance(out, tuple) else out))
    many, image = (32, 64, 8, 8), (1, 3, 32, 32)
    for shape, kernel, stride, padding, dilation in [(many, 3, 1, 1, 1), (many, 3, 1, 8, 8), (many, 1, 1, 0, 1),
                                                     (many, 3, 2, 1, 1), (image, 3, 1, 1, 1)]:
        for dtype in (np.float32, np.float64):
            x = Tensor(np.ones(shape, dtype), requires_grad=True)
            w = Tensor(np.ones((32, shape[1], kernel, kernel), dtype), requires_grad=True)
            conv2d(x, w, stride=stride, padding=padding, dilation=dilation).sum().backward()
    for optimizer in OPTIMIZERS.values():
        for dtype in (np.float32, np.float64):
            x = Tensor(np.ones(2, dtype), requires_grad=True)
            x.sum().backward()
            optimizer([x], lr=1e-3).step()
    return 0
