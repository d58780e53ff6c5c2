"""Where in a picture the network saw what would move the answer: Grad-CAM.

Selvaraju et al., ICCV 2017: with A_k the maps of the last convolution and y the score of a class,

    map = relu(sum over k of a_k A_k),   a_k = mean over places of dy / dA_k

Here y is the class's logit minus the other's: with two classes either logit alone may be moved by
any constant without changing the probability. Slopes are summed over places and not averaged: the
map is then that of the paper times the number of places, and its unit is logit (what the picture
moves, to first order, if all of it is like this place), so that maps of several lesions and several
members are joined with one scale. Nothing is scaled to 0 to 1.

Three limits. A map is as coarse as the last convolution. Relu takes away what speaks against the
class, so a map may be empty. And slopes are local: where a network is sure of its answer, small
changes move nothing, the map is faint, and its places may be of chance; what the lesion moved when
left out (:mod:`herscope.respond.explaining.instances`) then says whether it counts at all. A map of
a network that has learnt nothing may look plausible, so compare with one of random weights (Adebayo
et al., NeurIPS 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from herscope.core.errors import InputError
from herscope.respond.explaining.contributions import check_members
from herscope.respond.explaining.forward import batch_of
from herscope.respond.fusion.network import FusionNetwork
from herscope.respond.fusion.patients import Patient

Towards = Literal["no response", "response", "predicted"]
TOWARDS: Final = ("no response", "response", "predicted")
Maps = NDArray[np.float32]


def grad_cam(
    network: FusionNetwork,
    patient: Patient,
    modality: str,
    towards: Towards = "no response",
) -> Maps:
    """Map each picture of a modality.

    Parameters
    ----------
    network
        One member; put into evaluation mode.
    patient
        With pictures (instances of shape (n, 3, S, S)) in this modality.
    modality
        ``radiology`` or ``pathology``.
    towards
        The class; ``predicted`` is the one the member gives the larger probability.

    Returns
    -------
    ndarray
        (n, h, w) float32, 0 or more, in logit (see the module); zero where nothing speaks for the
        class.

    Raises
    ------
    InputError
        The patient or the network has no pictures there, or an unknown class.

    Examples
    --------
    >>> from herscope.respond.fusion.fusion_spec import FusionSpec
    >>> from herscope.respond.fusion.patients import Branch, BranchLayout, Layout, no_tokens
    >>> layout = Layout({"radiology": BranchLayout(96, 0, (), 0, 32)}, ())
    >>> network = FusionNetwork(layout, FusionSpec(width=8, common=8, hidden=4))
    >>> ct = Branch(np.zeros((2, 3, 32, 32), np.float32), no_tokens(()))
    >>> grad_cam(network, Patient("a", {"radiology": ct}, no_tokens(())), "radiology").shape
    (2, 4, 4)
    """
    _check(network, patient, modality, towards)
    network.eval()
    batch = batch_of(network, [patient])
    with torch.enable_grad(), _kept_maps(network.modalities[modality]) as kept:
        logits = network(batch)[0]
        score = logits[0] - logits[1]
        if towards == "response" or (towards == "predicted" and bool(score.detach() < 0)):
            score = -score
        # A network that takes nothing from the pictures has no slope at them.
        slopes = torch.autograd.grad(score, kept, allow_unused=True, materialize_grads=True)
    maps, slope = torch.cat(kept).detach(), torch.cat(slopes)
    weights = slope.sum(dim=(2, 3), keepdim=True)
    return np.asarray(torch.relu((weights * maps).sum(dim=1)).float().cpu().numpy())


def mean_grad_cam(
    networks: Sequence[FusionNetwork],
    patients: Sequence[Patient],
    modality: str,
    towards: Towards = "no response",
) -> Maps:
    """Average the maps of several members, each for the patient as scaled for it.

    With ``predicted`` a member maps the class it predicts itself; to join maps of one class, name
    the class.

    Raises
    ------
    InputError
        As :func:`grad_cam`, and where not one patient is given for each member.
    """
    check_members(networks, patients)
    maps = [grad_cam(n, p, modality, towards) for n, p in zip(networks, patients, strict=True)]
    return np.asarray(np.mean(np.stack(maps), axis=0, dtype=np.float64).astype(np.float32))


@contextmanager
def _kept_maps(modality: Any) -> Iterator[list[Tensor]]:
    """Keep what the picture network's ``maps`` gives, as leaves that slopes are taken at."""
    network, kept = modality.picture_network, list[Tensor]()
    own: Callable[[Tensor], Tensor] = network.maps

    def keeping(x: Tensor) -> Tensor:
        with torch.no_grad():  # nothing before the maps is asked for
            made = own(x)
        kept.append(made.detach().requires_grad_())
        return kept[-1]

    network.maps = keeping
    try:
        yield kept
    finally:
        del network.maps  # the class's own is seen again


def _check(network: FusionNetwork, patient: Patient, modality: str, towards: str) -> None:
    if towards not in TOWARDS:
        raise InputError(f"no class is called {towards!r}", hint=" or ".join(TOWARDS))
    branch = patient.branches.get(modality)
    if branch is None or not branch.picture:
        raise InputError(
            f"patient {patient.name} has no pictures in {modality}",
            hint="Grad-CAM is of pictures; vectors of an encoder have none",
        )
    known = network.layout.branches.get(modality)
    if known is None or not known.picture:
        raise InputError(
            f"the network takes no pictures in {modality}",
            hint="explain with the model that was trained on pictures",
        )
