"""What the fusion model is trained by.

    L = focal(labelled) + w_s * survival + w_a * alignment + w_k(e) * kinds of instances
        + w_i * focal of the interaction

* **Focal** loss (Lin et al., ICCV 2017): -(1 - p)^gamma log p of the true class; gamma 0 is
  cross-entropy. Patients without a response label are left out, and kept for survival.
* **Survival**: Cox's partial likelihood on the probability of no response, with the risk set
  T_j >= T_i, the patient included (Breslow). The released code takes T_j > T_i, the patient
  excluded, and so gives the last event of a batch a logarithm of 1e-6; ``risk_set="released"``.
* **Alignment**: NT-Xent (Chen et al., ICML 2020) between the agnostic parts of patients that have
  both modalities, in both directions; pathology and radiology of one patient belong together.
* **Kinds**: cross-entropy of the lesion (or bag) classes; weight 0.1 (1 - exp(-5 (1 - e)^2)), e the
  share of the training that is done, as released: help at the start, nothing at the end.
* **Interaction**, ours: the focal loss once more, of what the product of both modalities says
  alone, over the labelled patients who have both; see :mod:`herscope.respond.fusion.interaction`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from herscope.respond.fusion.loss_spec import LossSpec
from herscope.respond.fusion.network import Fused

RELEASED_FLOOR = 1e-6
KINDS_RATE = 5.0


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Mean focal loss of patients whose label is 0 or 1; 0 where there is none.

    Examples
    --------
    >>> z = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    >>> round(float(focal_loss(z, torch.tensor([0, -1]), 0.0)), 4)
    0.6931
    """
    told = labels >= 0
    likely = F.log_softmax(logits.float(), dim=1)
    own = likely.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    each = -((1 - own.exp()) ** gamma) * own
    return torch.where(told, each, 0.0).sum() / told.sum().clamp(min=1)


def cox_loss(
    risk: Tensor, times: Tensor, events: Tensor, risk_set: Literal["cox", "released"] = "cox"
) -> Tensor:
    """Negative log partial likelihood a event; 0 without events.

    Parameters
    ----------
    risk
        (patients,) larger is worse.
    times
        (patients,) follow-up; NaN where unknown, and such patients are left out.
    events
        (patients,) 1 where it happened.
    risk_set
        As :class:`LossSpec`.

    Examples
    --------
    >>> t, e = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])
    >>> round(float(cox_loss(torch.zeros(2), t, e)), 4)  # (log 2 + log 1) / 2
    0.3466
    """
    known = torch.isfinite(times)
    risk, times, events = risk[known].float(), times[known], events[known]
    happened = events > 0
    if not bool(happened.any()):
        return risk.sum() * 0.0
    if risk_set == "cox":
        at_risk = times[None, :] >= times[:, None]
        spread = risk[None, :].expand_as(at_risk).masked_fill(~at_risk, float("-inf"))
        each = risk - spread.logsumexp(dim=1)
    else:
        at_risk = times[None, :] > times[:, None]
        total = (risk.exp()[None, :] * at_risk).sum(dim=1)
        each = (risk.exp() / (total + RELEASED_FLOOR)).clamp(min=RELEASED_FLOOR).log()
    return -each[happened].mean()


def alignment_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views of the same patients, both directions; 0 for fewer than two.

    Parameters
    ----------
    one, other
        (patients, C) agnostic parts of patients that have both.

    Examples
    --------
    >>> same = torch.eye(3)
    >>> round(float(alignment_loss(same, same, 0.1)), 4)
    0.0001
    """
    if len(one) < 2:
        return (one.sum() + other.sum()) * 0.0
    a, b = F.normalize(one.float(), dim=1), F.normalize(other.float(), dim=1)
    alike = a @ b.T / temperature
    target = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(alike, target) + F.cross_entropy(alike.T, target)) / 2


def kinds_weight(start: float, progress: float) -> float:
    """Return the weight of the kinds after a share of the training.

    Examples
    --------
    >>> round(kinds_weight(0.1, 0.0), 4), kinds_weight(0.1, 1.0)
    (0.0993, 0.0)
    """
    return start * (1 - math.exp(-KINDS_RATE * (1 - progress) ** 2))


def fusion_loss(
    found: Fused, target: Tensor, spec: LossSpec, *, kinds: dict[str, Tensor], progress: float
) -> Tensor:
    """Return the whole loss.

    Parameters
    ----------
    found
        What :meth:`FusionNetwork.branches` gives.
    target
        (patients, 3): label (0, 1, or -1 without), time (NaN without), event.
    spec
        Weights.
    kinds
        Modality to (patients, instances) true kinds, -1 where unknown.
    progress
        0 to 1.
    """
    labels = target[:, 0].long()
    total = focal_loss(found.logits, labels, spec.gamma)
    if spec.survival:
        risk = found.logits.float().softmax(dim=1)[:, 0]
        total = total + spec.survival * cox_loss(risk, target[:, 1], target[:, 2], spec.risk_set)
    if spec.alignment and len(found.agnostic) == 2:
        one, other = found.agnostic
        both = found.known[one] & found.known[other]
        pair = found.agnostic[one][both], found.agnostic[other][both]
        total = total + spec.alignment * alignment_loss(*pair, spec.temperature)
    if spec.interaction and found.interaction is not None:
        all_known = torch.stack(list(found.known.values()), dim=1).all(dim=1)
        own = focal_loss(found.interaction[all_known], labels[all_known], spec.gamma)
        total = total + spec.interaction * own
    weight = kinds_weight(spec.kinds, progress)
    for name, logits in found.kinds.items():
        truth = kinds[name].flatten()
        if weight and bool((truth >= 0).any()):
            part = F.cross_entropy(logits.float().flatten(0, 1), truth, ignore_index=-1)
            total = total + weight * part
    return total
