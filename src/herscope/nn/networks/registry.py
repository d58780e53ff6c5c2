"""Networks by name. Listing the names needs no torch; making one does.

    moco-sm               ResNet-50, 1 x 1 head, bilinear x 32 (AutoIHC; MoCo v2, Chen et al. 2020)
    unet                  Ronneberger et al. 2015
    unet++                Zhou et al. 2018
    deeplabv3+            Chen et al. 2018, on ResNet-50
    deeplabv3+mobilenet   the same on MobileNetV3-Large
    mobilenetv3           Howard et al. 2019, LR-ASPP
    triple-unet           Zhao et al. 2020, nuclei

All take float32 (N, channels, H, W) of any height and width, and give logits
(N, classes, H, W). ``width`` scales every channel count; 1 is the published network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from herscope.core.errors import DependencyMissing
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
    """

    task: Task
    source: str
    build: Build


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
    from herscope.nn.networks.unet_plus import UNetPlusPlus

    return NetworkKind("compartments", "Zhou et al. 2018", UNetPlusPlus)


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


@NETWORKS.register("triple-unet")
def triple_unet() -> NetworkKind:
    """Triple U-Net with PDFA."""
    from herscope.nn.networks.triple_unet import TripleUNet

    return NetworkKind("nuclei", "Zhao et al. 2020", TripleUNet)


def make_network(
    name: str, *, channels: int, classes: int, width: float = 1.0, seed: int = 0
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

    Raises
    ------
    DependencyMissing
        torch is not installed.
    UnknownModel
        No network has this name.
    InputError
        No channels, no classes, or a width out of range.

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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.build(channels, classes, width=width)
