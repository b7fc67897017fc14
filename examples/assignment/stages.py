"""Task stages: what training does to a network, in the four stages of the lecture.

Images are (N, 3, H, W) float32, masks (N, H, W) uint8 with 255 for void.  You may call decoder: here there will be a
network that works, even if yours does not.
"""
import numpy as np
import tinyseg as ts
from decoder import Network


def untrained(images, masks, num_classes, seed=0):
    """A network that has learnt nothing: returns its loss (a number) and the labels that it predicts (N, H, W)."""
    # BEGIN SOLUTION
    ts.manual_seed(seed)
    scores = Network(num_classes)(ts.Tensor(images))
    return ts.functional.cross_entropy(scores, masks).item(), scores.numpy().argmax(axis=1)
    # END SOLUTION


def overfit(image, mask, num_classes, seed=0):
    """Train on this one example, image (1, 3, H, W) and mask (1, H, W), until it is known by heart.

    Returns the loss before each step, (steps,), and the labels predicted at the end, (1, H, W).
    """
    # BEGIN SOLUTION
    ts.manual_seed(seed)
    model = Network(num_classes)
    losses = _train(model, image, mask, steps=80, batch_size=1, seed=seed)
    return np.array(losses), model(ts.Tensor(image)).numpy().argmax(axis=1)
    # END SOLUTION


def train(images, masks, num_classes, seed=0):
    """Train on all images, within 30 seconds; returns the network's weights, its state_dict()."""
    # BEGIN SOLUTION
    ts.manual_seed(seed)
    model = Network(num_classes)
    _train(model, images, masks, steps=140, batch_size=8, seed=seed)
    return model.state_dict()
    # END SOLUTION


def predict(state, images, num_classes):
    """The labels (N, H, W) that a network with the weights `state` predicts for images that it never saw."""
    # BEGIN SOLUTION
    model = Network(num_classes)
    model.load_state_dict(state)
    model.eval()
    with ts.no_grad():
        return model(ts.Tensor(images)).numpy().argmax(axis=1)
    # END SOLUTION


# BEGIN SOLUTION
def _train(model, images, masks, steps, batch_size, seed):
    """Gradient descent on random batches; returns the loss before each step."""
    rng = np.random.default_rng(seed)
    optimizer = ts.optim.AdamW(model.parameters(), lr=0.01)
    schedule = ts.optim.PolynomialLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        batch = rng.choice(len(images), batch_size, replace=False)
        optimizer.zero_grad()
        loss = ts.functional.cross_entropy(model(ts.Tensor(images[batch])), masks[batch])
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses
# END SOLUTION
