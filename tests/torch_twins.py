"""VGG and ResNet in PyTorch, with the layers, the order and the state-dict names of torchvision: oracles for ours."""
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: there is no oracle for whole networks")
nn, F = torch.nn, torch.nn.functional

VGG_LAYERS = {            # torchvision's table: channels of each convolution in units of the width; "M" pools
    11: [1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"],
    13: [1, 1, "M", 2, 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"],
    16: [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"],
    19: [1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M"],
}
RESNET_BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}


class VGG(nn.Module):
    def __init__(self, num_classes, depth, batch_norm, width):
        super().__init__()
        layers, c_in = [], 3
        for v in VGG_LAYERS[depth]:
            if v == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers.append(nn.Conv2d(c_in, v * width, 3, padding=1))
                layers += [nn.BatchNorm2d(v * width)] if batch_norm else []
                layers.append(nn.ReLU(inplace=True))
                c_in = v * width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        hidden = 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(8 * width * 49, hidden), nn.ReLU(True), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(True),
            nn.Dropout(), nn.Linear(hidden, num_classes))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class BasicBlock(nn.Module):
    def __init__(self, c_in, c, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.option, self.added, self.downsample = option, c - c_in, None
        if option == "B" and (stride != 1 or c_in != c):
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c))

    def shortcut(self, x):
        if self.downsample is not None:
            return self.downsample(x)
        if self.added:
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return x

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def stage(count, c_in, c, stride, option="B"):
    return nn.Sequential(BasicBlock(c_in, c, stride, option), *(BasicBlock(c, c, 1, option) for _ in range(count - 1)))


class ResNet(nn.Module):
    """torchvision's."""

    def __init__(self, num_classes, depth, width):
        super().__init__()
        counts, w = RESNET_BLOCKS[depth], width
        self.conv1 = nn.Conv2d(3, w, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.layer1, self.layer2 = stage(counts[0], w, w, 1), stage(counts[1], w, 2 * w, 2)
        self.layer3, self.layer4 = stage(counts[2], 2 * w, 4 * w, 2), stage(counts[3], 4 * w, 8 * w, 2)
        self.fc = nn.Linear(8 * w, num_classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class CifarResNet(nn.Module):
    """The usual port of the paper's section 4.2: three stages, option-A shortcuts, the last layer called linear."""

    def __init__(self, num_classes, width):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(3, width, width, 1, "A")
        self.layer2, self.layer3 = stage(3, width, 2 * width, 2, "A"), stage(3, 2 * width, 4 * width, 2, "A")
        self.linear = nn.Linear(4 * width, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(x, x.shape[2:]).flatten(1))


def randomised(module, seed=0):
    """Random numbers in every weight and every running statistic, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.1, generator=generator)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel())**0.5, generator=generator)
    return module.eval()


def arrays(module):
    """The state dict, as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def load(module, state):
    """Load a state dict of NumPy arrays, strictly."""
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()}, strict=True)
    return module


def run(module, x):
    """Scores of a batch of images, as an array."""
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()
