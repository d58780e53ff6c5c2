"""Patients through a network, in parts that fit into memory.

The *logit* here is of response: second logit minus first, so its sigmoid is the probability.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from herscope.respond.fusion.batch import PatientBatch, collate
from herscope.respond.fusion.network import Fused, FusionNetwork
from herscope.respond.fusion.patients import Patient

MOST_NUMBERS: Final = 2**23
"""Numbers of a batch after padding: 32 MB as float32, some times that inside the network."""
PICTURE_COSTS: Final = 8
"""A number of a picture counts as so many: a convolution network makes many more of it."""
MOST_AT_ONCE: Final = 512


def response_logits(network: FusionNetwork, patients: Sequence[Patient]) -> NDArray[np.float64]:
    """Return (patients,) logits of response. The network is put into evaluation mode."""
    found = [np.zeros(0)]
    with torch.inference_mode():
        network.eval()
        for part in portions(patients):
            logits = network(batch_of(network, part)).double()
            found.append((logits[:, 1] - logits[:, 0]).cpu().numpy())
    return np.concatenate(found)


def looked_at(network: FusionNetwork, patient: Patient) -> Fused:
    """Return everything the network gives for one patient."""
    with torch.inference_mode():
        network.eval()
        return network.branches(batch_of(network, [patient]))


def batch_of(network: FusionNetwork, patients: Sequence[Patient]) -> PatientBatch:
    """Return the patients as tensors where the network is."""
    device = next(network.parameters()).device
    return collate(patients, network.layout).to(device)


def portions(patients: Sequence[Patient]) -> Iterator[Sequence[Patient]]:
    """Divide patients, in their order, so that each padded portion fits."""
    start, widest = 0, 0
    for at, patient in enumerate(patients):
        widest = max(widest, _cost(patient))
        size = at + 1 - start
        if size > 1 and (size * widest > MOST_NUMBERS or size > MOST_AT_ONCE):
            yield patients[start:at]
            start, widest = at, _cost(patient)
    if start < len(patients):
        yield patients[start:]


@contextmanager
def pictures_read_once(networks: Sequence[FusionNetwork]) -> Iterator[None]:
    """Read a picture once inside the block, however often its patient goes through a network.

    Reports and parts are varied, pictures stay, and reading them is nearly all the work. Vectors
    are kept by the hash of the picture; not for slopes.
    """
    with ExitStack() as stack:
        # The same network may stand for several members.
        for network in {id(one): one for one in networks}.values():
            for modality in network.modalities.values():
                if getattr(modality, "picture_network", None) is not None:
                    stack.enter_context(_reading_once(modality.picture_network))
        yield


@contextmanager
def _reading_once(network: Any) -> Iterator[None]:
    own: Callable[[Tensor], Tensor] = network.forward
    known: dict[bytes, Tensor] = {}

    def remembering(x: Tensor) -> Tensor:
        keys = [hashlib.sha256(one.tobytes()).digest() for one in x.detach().cpu().numpy()]
        new = {key: at for at, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, own(x[list(new.values())]), strict=True))
        return torch.stack([known[key] for key in keys])

    network.forward = remembering
    try:
        yield
    finally:
        del network.forward  # the class's own is seen again


def _cost(patient: Patient) -> int:
    return sum(
        branch.instances.size * (PICTURE_COSTS if branch.picture else 1)
        for branch in patient.branches.values()
        if branch.instances is not None
    )


def probability(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of response.

    Examples
    --------
    >>> probability(np.array([0.0])).tolist()
    [0.5]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))
