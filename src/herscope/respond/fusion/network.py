"""MuMo's network, with missing parts as the paper says and not as its released code does.

Chen et al. (MuMo; github.com/czifan/MuMo, read for its structure, nothing taken over). Inside a
modality: vectors of instances (gated by when they were sampled), words gathered into instances and
instances into one vector by attention; that vector reads radiomics and the report's tokens. Between
modalities: a specific part S and an agnostic part A of each. A missing modality's S is a learned
vector; the common part is the mean of the A that are there. The released code multiplies a
radiology-only patient's agnostic part by zero; here all three scenarios are the paper's:

    both                fused = F[S_path, (A_path + A_rad) / 2, S_rad]
    pathology only      fused = F[S_path, A_path, learned]
    radiology only      fused = F[learned, A_rad, S_rad]

With neither, A is a learned vector as well, and the patient's tokens decide. Then the fused vector
reads the patient's tokens, and an MLP gives two logits; risk is the probability of class 0, no
response. The paper says MLP, its code has one linear layer (``predictor="linear"``), with which all
from the modalities' vectors to the logits is linear but for the tokens: what only two modalities
together tell can then not be learnt, and on cohorts drawn so it stays at chance. The simple fusions
(sum, product, concatenation) replace S and A and have the same learned vectors for what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from herscope.core.spec import Spec
from herscope.respond.fusion.attention import Attend, Pool, Tokens, Transform
from herscope.respond.fusion.batch import BranchBatch, PatientBatch
from herscope.respond.fusion.patients import TIMES, BranchLayout, Layout

Fusion = Literal["mumo", "sum", "product", "concat"]
CLASSES = 2


class FusionSpec(Spec):
    """Sizes and choices; MuMo's author gave 512, 1024, 1 head, no dropout."""

    fusion: Fusion = Field(default="mumo", description="How modalities are joined.")
    width: int = Field(default=512, ge=4, le=8192, description="Numbers inside a modality.")
    common: int = Field(default=1024, ge=4, le=8192, description="Numbers between modalities.")
    hidden: int = Field(default=256, ge=1, le=8192, description="Hidden numbers of transforms.")
    heads: int = Field(default=1, ge=1, le=64, description="Heads of attention.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Of a modality's vector.")
    predictor: Literal["mlp", "linear"] = Field(
        default="mlp", description="As the paper says, or as its code does."
    )


@dataclass(frozen=True)
class Fused:
    """What the network gives, with what the losses and explanations need.

    Attributes
    ----------
    logits
        (B, 2): no response, response.
    agnostic
        Modality to (B, C).
    known
        Modality to (B,) bool.
    kinds
        Modality to (B, N, kinds) logits of its instances.
    weights
        Name to attention: ``<modality>.instances`` (B, N), ``<modality>.report`` and ``tokens``
        (B, tokens).
    """

    logits: Tensor
    agnostic: dict[str, Tensor]
    known: dict[str, Tensor]
    kinds: dict[str, Tensor]
    weights: dict[str, Tensor]


class Modality(nn.Module):
    """From words, radiomics and a report to one vector."""

    def __init__(self, layout: BranchLayout, spec: FusionSpec) -> None:
        super().__init__()
        d = spec.width
        self.gate = nn.Linear(layout.features + TIMES, 1)
        self.embed = nn.Linear(layout.features, d)
        self.between_words, self.pool_words = Attend(d, spec.heads), Pool(d)
        self.word_transform = Transform(d, spec.hidden)
        self.between, self.pool = Attend(d, spec.heads), Pool(d)
        self.transform = Transform(d, spec.hidden)
        self.no_image = nn.Parameter(torch.zeros(d))
        self.omics = nn.Linear(layout.omics, d) if layout.omics else None
        self.read_omics = Attend(d, spec.heads) if layout.omics else None
        self.report = Tokens(layout.report, d) if layout.report else None
        self.read_report = Attend(d, spec.heads) if layout.report else None
        self.kinds = nn.Linear(d, layout.kinds) if layout.kinds else None
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, batch: BranchBatch) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Return (B, D), kind logits (B, N, kinds) or None, and attention by name."""
        instances = self._instances(batch)
        read, _ = self.between(instances, instances, batch.there)
        attended = instances + read
        pooled, weights = self.pool(attended, batch.there)
        imaged = batch.there.any(dim=1, keepdim=True)
        x = self.transform(torch.where(imaged, pooled, self.no_image))
        seen = {"instances": weights}
        added = torch.zeros_like(x)
        if self.omics is not None and self.read_omics is not None:
            read, _ = self.read_omics(x[:, None], self.omics(batch.omics), batch.omics_there)
            added = added + read[:, 0]
        if self.report is not None and self.read_report is not None:
            tokens = self.report(batch.report)
            read, looked = self.read_report(x[:, None], tokens, batch.report_there)
            added = added + read[:, 0]
            seen["report"] = looked[:, 0]
        kinds = None if self.kinds is None else self.kinds(attended)
        return self.dropout(x + added), kinds, seen

    def _instances(self, batch: BranchBatch) -> Tensor:
        """Gather words: (B, N, W, F) -> (B, N, D)."""
        b, n, w, _ = batch.words.shape
        time = batch.time[:, None, None, :].expand(b, n, w, TIMES)
        gate = torch.sigmoid(self.gate(torch.cat([batch.words, time], dim=-1)))
        words = self.embed(batch.words * gate)
        if w == 1:
            return words[:, :, 0]
        flat, there = words.flatten(0, 1), batch.word_there.flatten(0, 1)
        read, _ = self.between_words(flat, flat, there)
        pooled, _ = self.pool_words(flat + read, there)
        gathered: Tensor = self.word_transform(pooled).unflatten(0, (b, n))
        return gathered


class FusionNetwork(nn.Module):
    """Patients to logits; see the module.

    Parameters
    ----------
    layout
        What patients look like.
    spec
        Sizes and the way of joining.
    """

    def __init__(self, layout: Layout, spec: FusionSpec) -> None:
        super().__init__()
        self.layout, self.spec = layout, spec
        c, names = spec.common, list(layout.branches)
        self.modalities = nn.ModuleDict({n: Modality(layout.branches[n], spec) for n in names})
        self.lift = nn.ModuleDict({n: nn.Linear(spec.width, c) for n in names})
        self.specific = nn.ModuleDict({n: nn.Linear(c, c) for n in names})
        self.agnostic = nn.ModuleDict({n: nn.Linear(c, c) for n in names})
        self.missing = nn.ParameterDict({n: nn.Parameter(torch.zeros(c)) for n in names})
        self.nothing = nn.Parameter(torch.zeros(c))
        parts = {"mumo": len(names) + 1, "concat": len(names)}.get(spec.fusion, 1)
        self.join = nn.Linear(parts * c, c) if names else None
        self.tokens = Tokens(layout.tokens, c) if layout.tokens else None
        self.read_tokens = Attend(c, spec.heads) if layout.tokens else None
        self.predict: nn.Module = nn.Linear(c, CLASSES)
        if spec.predictor == "mlp":
            self.predict = nn.Sequential(
                nn.LayerNorm(c),
                nn.Linear(c, spec.hidden),
                nn.ReLU(),
                nn.Linear(spec.hidden, CLASSES),
            )

    def forward(self, batch: PatientBatch) -> Tensor:
        """Return (B, 2) logits."""
        return self.branches(batch).logits

    def branches(self, batch: PatientBatch) -> Fused:
        """Return logits with what losses and explanations need."""
        lifted: dict[str, Tensor] = {}
        known: dict[str, Tensor] = {}
        kinds: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for name in self.layout.branches:
            part = batch.branches[name]
            x, logits, seen = self.modalities[name](part)
            lifted[name], known[name] = self.lift[name](x), part.known
            weights |= {f"{name}.{what}": value for what, value in seen.items()}
            if logits is not None:
                kinds[name] = logits
        fused, agnostic = self._fuse(lifted, known, len(batch))
        if self.tokens is not None and self.read_tokens is not None:
            tokens = self.tokens(batch.tokens)
            read, looked = self.read_tokens(fused[:, None], tokens, batch.tokens_there)
            fused = fused + read[:, 0]
            weights["tokens"] = looked[:, 0]
        return Fused(self.predict(fused), agnostic, known, kinds, weights)

    def _fuse(
        self, lifted: dict[str, Tensor], known: dict[str, Tensor], size: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Join the modalities; what is missing is a learned vector."""
        if self.join is None:
            return self.nothing.expand(size, -1), {}
        names = list(self.layout.branches)
        there = torch.stack([known[name] for name in names], dim=1)  # (B, modalities)
        if self.spec.fusion == "mumo":
            own = [
                self._or_missing(name, self.specific[name](lifted[name]), known) for name in names
            ]
            agnostic = {name: self.agnostic[name](lifted[name]) for name in names}
            stacked = torch.stack([agnostic[name] for name in names], dim=1)
            count = there.sum(dim=1, keepdim=True)
            mean = (stacked * there[:, :, None]).sum(dim=1) / count.clamp(min=1)
            common = torch.where(count > 0, mean, self.nothing)
            return self.join(torch.cat([own[0], common, *own[1:]], dim=1)), agnostic
        parts = [self._or_missing(name, lifted[name], known) for name in names]
        if self.spec.fusion == "concat":
            return self.join(torch.cat(parts, dim=1)), {}
        stacked = torch.stack(parts, dim=1)
        joined = stacked.sum(dim=1) if self.spec.fusion == "sum" else stacked.prod(dim=1)
        return self.join(joined), {}

    def _or_missing(self, name: str, x: Tensor, known: dict[str, Tensor]) -> Tensor:
        return torch.where(known[name][:, None], x, self.missing[name])
