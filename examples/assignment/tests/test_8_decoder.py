import numpy as np

import tinyseg as ts
import tinyseg.functional as F
from tinyseg.course.testing import close, points

CHANNELS, CLASSES = (2, 3, 4), 5
SHAPES = {**{f"score{i}.weight": [CLASSES, c, 1, 1] for i, c in enumerate(CHANNELS, 1)},
          **{f"score{i}.bias": [CLASSES] for i in (1, 2, 3)},
          **{f"upscore{i}.weight": [CLASSES, CLASSES, 4, 4] for i in (0, 1, 2)}}


def example(seed):
    rng = np.random.default_rng(seed)

    def normal(shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(np.float32)
    features = [normal((2, c, 16 >> i, 24 >> i)) for i, c in enumerate(CHANNELS, 1)]
    state = {name: normal(shape, 0.3) for name, shape in SHAPES.items()}
    return features, state, normal((2, CLASSES, 16, 24))


def decode(features, state, skips=(1, 1), order=(2, 1, 0)):
    def score(i):
        return F.conv2d(features[i - 1], state[f"score{i}.weight"], state[f"score{i}.bias"])

    def up(x, i):
        return F.conv_transpose2d(x, state[f"upscore{i}.weight"], stride=2, padding=1)
    fuse2 = up(score(3), order[0]) + score(2) * skips[0]
    return up(up(fuse2, order[1]) + score(1) * skips[1], order[2])


def scores(decoder, seed):
    features, state, dy = example(seed)
    close(decoder.run(*features, dy, state)[0], decode(features, state).numpy(), "the scores", {
        "both skip connections are missing": decode(features, state, (0, 0)).numpy(),
        "the skip connection from the 1/4 features is missing": decode(features, state, (0, 1)).numpy(),
        "the skip connection from the 1/2 features is missing": decode(features, state, (1, 0)).numpy(),
        "skips are multiplied by 2, or added twice": decode(features, state, (2, 2)).numpy(),
        "the upscore layers are used in the wrong order": decode(features, state, order=(0, 1, 2)).numpy(),
        "a ReLU stands behind the scores": F.relu(decode(features, state)).numpy(),
        "a softmax stands behind the scores: the loss takes it of them":
            F.softmax(decode(features, state), 1).numpy()}, rtol=1e-4)


@points("decoder", 2)
def test_layers(decoder):
    found = decoder.names()
    assert found == SHAPES, "; ".join(
        [f"{name} {shape} is missing" for name, shape in SHAPES.items() if name not in found]
        + [f"{name} {shape} is not asked for" for name, shape in found.items() if name not in SHAPES]
        + [f"{name} has shape {found[name]}, expected {shape}" for name, shape in SHAPES.items()
           if found.get(name, shape) != shape])


@points("decoder", 4)
def test_scores(decoder):
    scores(decoder, 0)


# BEGIN HIDDEN
@points("decoder", 4)
def test_gradients_reach_every_layer(decoder):
    features, state, dy = example(1)
    tensors = {name: ts.Tensor(value, requires_grad=True) for name, value in state.items()}
    decode(features, tensors).backward(dy)
    found = decoder.run(*features, dy, state)[1]
    missing = [name for name in SHAPES if name not in found]
    assert not missing, f"no gradient reaches {', '.join(missing)}: it is not used, or .data or .numpy() cuts the graph"
    for name, tensor in tensors.items():
        close(found[name], tensor.grad, f"the gradient of {name}", rtol=1e-3)
# END HIDDEN
