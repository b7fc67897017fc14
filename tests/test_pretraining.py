"""Classify first, then segment: the encoder's weights go over, and nothing else passes for them."""
import json

import numpy as np
import pytest
from tqdm import tqdm
from voc_folder import make_voc_folder

import tinyseg
from tinyseg import checkpoint as checkpoints
from tinyseg import models, training
from tinyseg.cli import main
from tinyseg.data import Scenes
from tinyseg.pretraining import load_encoder, start_from
from tinyseg.tensor import Tensor
from tinyseg.training import parameter_groups
from tinyseg.weights import write_weights

CLASSES = 4


def small_classifier(**options):
    return models.Classifier(CLASSES, encoder="vgg11_bn", width=2, **options)


def small_fcn(variant="32s", **options):
    return models.FCN(CLASSES, encoder="vgg11_bn", width=2, variant=variant, **options)


def features(model):
    """What is trained in the encoder before its classification head."""
    return {name: array for name, array in model.encoder.state_dict().items() if name.startswith("features")}


def test_tags_are_what_is_in_the_mask(rng):
    masks = rng.choice([0, 2, 3, 255], size=(5, 6, 7)).astype(np.uint8)
    masks[0], masks[1] = 255, 2
    tags = small_classifier().targets(masks)
    assert tags.shape == (5, CLASSES, 1) and tags.dtype == np.uint8
    for mask, tag in zip(masks, tags[..., 0]):
        assert set(np.flatnonzero(tag)) == set(mask.ravel()) - {255}


def test_the_loss_of_tags_is_binary_cross_entropy(rng):
    from tinyseg.functional import cross_entropy
    model, masks = small_classifier().eval(), np.array([[[0, 2]], [[1, 255]]], np.uint8)
    images = Tensor(rng.standard_normal((2, 3, 32, 32)).astype(np.float32))
    z = model.encoder(images).numpy().astype(float)
    y = np.array([[1, 0, 1, 0], [0, 1, 0, 0]])
    expected = np.mean(y * np.log1p(np.exp(-z)) + (1 - y) * np.log1p(np.exp(z)))
    assert cross_entropy(model(images), model.targets(masks)).item() == pytest.approx(expected, rel=1e-5)


def test_one_label_an_image(rng):
    masks = np.array([3, 1], np.uint8)[:, None, None] * np.ones((2, 32, 32), np.uint8)
    model = small_classifier(tags=False)
    assert model.targets(masks).tolist() == [[[3]], [[1]]]
    assert model(Tensor(rng.standard_normal((2, 3, 32, 32)).astype(np.float32))).shape == (2, CLASSES, 1, 1)


@pytest.mark.slow
def test_a_classifier_learns_tags(tmp_path):
    scenes = Scenes(8, 32, CLASSES)
    model = models.Classifier(CLASSES, encoder="resnet18", width=8)
    history = training.fit(model, scenes, scenes, tmp_path, epochs=15, batch_size=4, lr=3e-3)
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert history[-1]["pixel_accuracy"] > 0.9


def test_from_tags_to_masks_on_the_command_line(tmp_path, capsys):
    data = make_voc_folder(tmp_path / "data", train=4, val=2, test=2)
    sizes = ["--data", str(data), "--crop", "32", "--batch", "2", "--epochs", "1", "--width", "2", "--encoder", "vgg11_bn"]
    tags, masks = tmp_path / "tags", tmp_path / "masks"
    assert main(["train", "--model", "classifier", "--out", str(tags), *sizes]) == 0
    assert main(["evaluate", str(tags), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])["iou"]) == {"absent", "present"}
    assert main(["train", "--model", "fcn", "--pretrained", str(tags), "--encoder-lr", "0", "--head-lr", "10",
                 "--out", str(masks), *sizes]) == 0
    learnt, kept = (checkpoints.load(run / "best.npz").weights for run in (tags, masks))
    moved = [name for name in learnt if name.startswith("encoder.features") and (learnt[name] != kept[name]).any()]
    assert not moved                                      # a frozen encoder keeps its batch norm's statistics too
    assert main(["predict", str(tags), str(data / "JPEGImages"), "--out", str(tmp_path / "out")]) == 2
    assert "Classifier" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_an_encoder_from_a_file_of_weights(tmp_path, suffix):
    classifier, fcn = models.VGG(7, depth=11, batch_norm=True, width=2), small_fcn()
    write_weights(tmp_path / f"vgg{suffix}", classifier.state_dict())
    load_encoder(fcn, tmp_path / f"vgg{suffix}")
    for name, array in features(fcn).items():
        np.testing.assert_array_equal(array, classifier.state_dict()[name])


def test_weights_of_another_encoder_are_refused_and_nothing_is_written(tmp_path):
    other = models.VGG(7, depth=16, batch_norm=True, width=2)
    write_weights(tmp_path / "vgg.npz", other.state_dict())
    fcn = small_fcn()
    before = fcn.state_dict()
    with pytest.raises(ValueError, match=r"vgg.npz: weights of another encoder than VGG, which has no features"):
        load_encoder(fcn, tmp_path / "vgg.npz")
    wider = models.VGG(7, depth=11, batch_norm=True, width=3)
    write_weights(tmp_path / "wide.npz", wider.state_dict())
    with pytest.raises(ValueError, match=r"wide.npz: VGG: load_state_dict: misfit"):
        load_encoder(fcn, tmp_path / "wide.npz")
    assert all((before[name] == array).all() for name, array in fcn.state_dict().items())
    with pytest.raises(ValueError, match="UNet has no encoder"):
        load_encoder(models.UNet(2, width=2, depth=1), tmp_path / "vgg.npz")


@pytest.mark.usefixtures("blank_curves")
def test_staged_training_goes_on_exactly_where_the_coarser_net_stood(tmp_path, rng):
    scenes = [Scenes(2, 32, CLASSES, split=split) for split in ("train", "val")]
    images = Tensor(rng.standard_normal((1, 3, 64, 64)).astype(np.float32))
    training.fit(small_fcn("32s", staged=True), *scenes, tmp_path, epochs=1, batch_size=2)
    coarse, fine = checkpoints.load_model(tmp_path / "best.npz"), small_fcn("16s", staged=True)
    new = start_from(fine, tmp_path)
    assert {name.split(".")[0] for name in new} == {"score_pool4"}
    np.testing.assert_allclose(fine.eval()(images).numpy(), coarse(images).numpy(), atol=1e-6)
    assert np.ptp(coarse(images).numpy()) > 1e-3          # it has learnt something


@pytest.mark.usefixtures("blank_curves")
def test_start_from_something_else(tmp_path):
    scenes = [Scenes(2, 32, CLASSES, split=split) for split in ("train", "val")]
    training.fit(models.UNet(CLASSES, width=2, depth=1), *scenes, tmp_path, epochs=1, batch_size=2)
    with pytest.raises(ValueError, match="a UNet has no weight with a name and shape of this FCN"):
        start_from(small_fcn(), tmp_path)
    training.fit(small_fcn("16s"), *scenes, tmp_path / "16s", epochs=1, batch_size=2)
    with pytest.raises(ValueError, match="a 32s does not go on from a 16s"):
        start_from(small_fcn("32s"), tmp_path / "16s")


# A learning rate for each part ----------------------------------------------------------------------------------------

class Parts(tinyseg.nn.Module):
    """An encoder, something between, and a layer of scores."""

    def __init__(self):
        self.encoder = tinyseg.nn.Sequential(tinyseg.nn.Conv2d(3, 2, 3, padding=1), tinyseg.nn.BatchNorm2d(2))
        self.decoder = tinyseg.nn.Conv2d(2, 2, 1)
        self.score_fr = tinyseg.nn.Conv2d(2, 3, 1)

    def forward(self, x):
        return self.score_fr(self.decoder(self.encoder(x)))


def test_every_parameter_stands_in_one_group_with_the_rate_of_its_part():
    model = Parts()
    groups = parameter_groups(model, 0.5, encoder_lr=0.1, head_lr=10)
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[parameter] == pytest.approx({"encoder": 0.05, "decoder": 0.5, "score_fr": 5.0}[name.split(".")[0]])


def test_a_frozen_encoder_does_not_change(tmp_path):
    tinyseg.manual_seed(1)
    trainer = training.Trainer(Parts(), Scenes(4, 16, 3), Scenes(2, 16, 3, split="val"), epochs=1, batch_size=2, encoder_lr=0.0)
    before = trainer.model.state_dict()
    with tqdm(disable=True) as bar:
        trainer.epoch(bar)
    changed = {name.split(".")[0] for name, array in trainer.model.state_dict().items() if (array != before[name]).any()}
    assert changed == {"decoder", "score_fr"}


def test_rates_for_parts_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="encoder_lr=0.1, but UNet has no encoder of its own"):
        parameter_groups(models.UNet(2, width=2, depth=1), 0.1, encoder_lr=0.1)
    with pytest.raises(ValueError, match="head_lr=-1, but it must be at least 0"):
        parameter_groups(Parts(), 0.1, head_lr=-1)
