"""The networks, by the names that the command line and checkpoints know them by."""
from .classifier import Classifier
from .deeplab import DeepLab
from .deeplab_mobilenet import DeepLabV3MobileNetV2
from .encoders import ENCODERS
from .fcn import FCN
from .mobilenet import MobileNetV1
from .patch_classifier import PatchClassifier
from .resnet import ResNet
from .segnet import SegNet
from .unet import UNet
from .vgg import VGG

MODELS: dict[str, type] = {"unet": UNet, "fcn": FCN, "segnet": SegNet, "deeplab": DeepLab,
                           "deeplab_mobilenet": DeepLabV3MobileNetV2, "patch_classifier": PatchClassifier,
                           "classifier": Classifier}

__all__ = ["Classifier", "DeepLab", "DeepLabV3MobileNetV2", "ENCODERS", "FCN", "MODELS", "MobileNetV1", "PatchClassifier",
           "ResNet", "SegNet", "UNet", "VGG"]
