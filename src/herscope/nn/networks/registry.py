"""Networks by name. Listing the names needs no torch; making one does.

    moco-sm               ResNet-50, 1 x 1 head, bilinear x 32 (AutoIHC; MoCo v2, Chen et al. 2020)
    unet                  Ronneberger et al. 2015
    unet++                Zhou et al. 2018
    deeplabv3+            Chen et al. 2018, on ResNet-50
    deeplabv3+mobilenet   the same on MobileNetV3-Large
    mobilenetv3           Howard et al. 2019, LR-ASPP
    frozen                a vision transformer from a folder, with a head of our own
    unet-distance         the U-Net, giving nuclei and the distance to their border
    triple-unet           Zhao et al. 2020, nuclei
    hovernet              Graham et al. 2019, nuclei and where in its nucleus a pixel is
    vgg16-regression      Simonyan and Zisserman 2015, H-score (AutoIHC's default)
    stain-intensity-net   AutoIHC's small one, H-score
    ram-cnn               after Liu et al. 2019, H-score
    resnet18-regression   He et al. 2016, H-score

All take float32 (N, channels, H, W) of any height and width, and give logits
(N, classes, H, W); those for H-scores give (N, 1), H / 300. ``width`` scales every channel count; 1
is the published network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from herscope.core.errors import DependencyMissing, InputError
from herscope.core.registry import Registry, Task

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[..., nn.Module]


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """A network that can be made.

    Attributes
    ----------
    task
        What it predicts.
    source
        Author and year.
    build
        ``build(channels, classes, width=...)`` gives the module.
    output
        Names of the output channels of a nucleus network.
    takes
        Options that ``build`` takes beyond these: "encoder" (and then it needs it) or
        "deep_supervision".
    """

    task: Task
    source: str
    build: Build
    output: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()


NETWORKS: Registry[NetworkKind] = Registry("network")


@NETWORKS.register("moco-sm")
def moco_sm() -> NetworkKind:
    """ResNet-50 with a linear head."""
    from herscope.nn.networks.moco_sm import MocoSm

    return NetworkKind("compartments", "AutoIHC; He et al. 2016, MoCo v2: Chen et al. 2020", MocoSm)


@NETWORKS.register("unet")
def unet() -> NetworkKind:
    """U-Net."""
    from herscope.nn.networks.unet import UNet

    return NetworkKind("compartments", "Ronneberger et al. 2015", UNet)


@NETWORKS.register("unet++")
def unet_plus() -> NetworkKind:
    """U-Net with nested skips."""
    from herscope.nn.networks.unet_plus import unet_plus_plus

    takes = frozenset({"deep_supervision"})
    return NetworkKind("compartments", "Zhou et al. 2018", unet_plus_plus, takes=takes)


@NETWORKS.register("deeplabv3+")
def deeplab() -> NetworkKind:
    """DeepLabV3+ on ResNet-50."""
    from herscope.nn.networks.deeplab import deeplab_resnet

    return NetworkKind("compartments", "Chen et al. 2018", deeplab_resnet)


@NETWORKS.register("deeplabv3+mobilenet")
def deeplab_small() -> NetworkKind:
    """DeepLabV3+ on MobileNetV3-Large."""
    from herscope.nn.networks.deeplab import deeplab_mobilenet

    return NetworkKind("compartments", "Chen et al. 2018, Howard et al. 2019", deeplab_mobilenet)


@NETWORKS.register("mobilenetv3")
def mobilenet() -> NetworkKind:
    """MobileNetV3-Large with LR-ASPP."""
    from herscope.nn.networks.lraspp import LrAspp

    return NetworkKind("compartments", "Howard et al. 2019", LrAspp)


@NETWORKS.register("frozen")
def frozen() -> NetworkKind:
    """Frozen foundation encoder of a local folder, trained head."""
    from herscope.nn.networks.frozen_models import frozen_network

    source = "Dosovitskiy et al. 2021; the encoder as its folder says"
    return NetworkKind("compartments", source, frozen_network, takes=frozenset({"encoder"}))


@NETWORKS.register("unet-distance")
def unet_distance() -> NetworkKind:
    """U-Net that gives nuclei and the distance to their border."""
    from herscope.nn.networks.unet import UNet

    source = "Ronneberger et al. 2015; distance maps: Naylor et al. 2019"
    return NetworkKind("nuclei", source, UNet, ("nucleus", "distance"))


@NETWORKS.register("triple-unet")
def triple_unet() -> NetworkKind:
    """Triple U-Net with PDFA."""
    from herscope.nn.networks.triple_unet import TripleUNet

    return NetworkKind("nuclei", "Zhao et al. 2020", TripleUNet, ("nucleus",))


@NETWORKS.register("hovernet")
def hovernet() -> NetworkKind:
    """HoVer-Net without its branch for types."""
    from herscope.nn.networks.hovernet import CLASSES, HoverNet

    return NetworkKind("nuclei", "Graham et al. 2019", HoverNet, CLASSES)


@NETWORKS.register("vgg16-regression")
def vgg16_regression() -> NetworkKind:
    """VGG16 with an H-score head."""
    from herscope.nn.networks.vgg_regression import Vgg16Regression

    return NetworkKind("hscore", "AutoIHC; Simonyan and Zisserman 2015", Vgg16Regression)


@NETWORKS.register("stain-intensity-net")
def stain_intensity_net() -> NetworkKind:
    """Five convolutions, 0.1 million parameters."""
    from herscope.nn.networks.stain_intensity_net import StainIntensityNet

    return NetworkKind("hscore", "AutoIHC, as reconstructed here", StainIntensityNet)


@NETWORKS.register("ram-cnn")
def ram_cnn() -> NetworkKind:
    """One column of a RAM-CNN."""
    from herscope.nn.networks.ram_cnn import RamCnn

    return NetworkKind("hscore", "after Liu et al. 2019, single input", RamCnn)


@NETWORKS.register("resnet18-regression")
def resnet18_regression() -> NetworkKind:
    """ResNet-18 with an H-score head."""
    from herscope.nn.networks.resnet_regression import ResNet18Regression

    return NetworkKind("hscore", "AutoIHC; He et al. 2016", ResNet18Regression)


def make_network(
    name: str,
    *,
    channels: int,
    classes: int,
    width: float = 1.0,
    seed: int = 0,
    encoder: str | Path | None = None,
    deep_supervision: bool = False,
) -> nn.Module:
    """Make a network with fresh weights.

    Parameters
    ----------
    name
        One of ``NETWORKS``.
    channels
        Channels of the input: rgb 3, hematoxylin 1, hematoxylin-rgb 4 (haematoxylin first).
    classes
        Channels of the output.
    width
        Multiplier of every channel count, above 0 and at most 4.
    seed
        Of the weights. The same seed gives the same weights; torch's global generator is left as
        it was.
    encoder
        Folder of a foundation encoder; "frozen" needs it, the others have none. (Weights for
        networks with an encoder of their own are loaded afterwards, by
        :func:`herscope.nn.networks.encoder.load_encoder`.)
    deep_supervision
        A head at each depth, for training on ``network.branches``; "unet++" only.

    Raises
    ------
    DependencyMissing
        torch is not installed.
    UnknownModel
        No network has this name.
    InputError
        No channels, no classes, a width out of range, or an option the network has not.

    Examples
    --------
    >>> import torch
    >>> network = make_network("unet", channels=3, classes=4, width=0.0625)
    >>> network(torch.zeros(1, 3, 40, 50)).shape
    torch.Size([1, 4, 40, 50])
    """
    try:
        import torch
    except ImportError as error:
        raise DependencyMissing(
            "networks are made with torch, which is not installed",
            hint="pip install 'herscope[learn]'; a finished model needs no torch",
        ) from error
    from herscope.nn.networks.blocks import check_sizes

    kind = NETWORKS.make(name)
    check_sizes(channels, classes, width)
    options: dict[str, Any] = {"encoder": encoder} if encoder is not None else {}
    options |= {"deep_supervision": True} if deep_supervision else {}
    _check_options(name, kind, set(options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.build(channels, classes, width=width, **options)


def _check_options(name: str, kind: NetworkKind, given: set[str]) -> None:
    for option in sorted(given - kind.takes):
        able = [each for each in NETWORKS if option in NETWORKS.make(each).takes]
        raise InputError(
            f"network {name} takes no {option}", hint=f"networks that do: {', '.join(able)}"
        )
    if "encoder" in kind.takes - given:
        raise InputError(
            f"network {name} needs the folder of an encoder",
            hint="one that transformers or timm saved, with config.json and model.safetensors",
        )
