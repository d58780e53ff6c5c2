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

Ours is a second way to the logits, a product of both modalities' vectors, beside MuMo's joining
alone: :mod:`herscope.respond.fusion.interaction`. Without it the network is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from herscope.core.errors import SchemaError
from herscope.respond.fusion.attention import Attend, Pool, Tokens, Transform
from herscope.respond.fusion.batch import BranchBatch, PatientBatch
from herscope.respond.fusion.fusion_spec import FusionSpec
from herscope.respond.fusion.interaction import Interaction
from herscope.respond.fusion.patients import TIMES, BranchLayout, Layout
from herscope.respond.fusion.picture_network import PictureNetwork

CLASSES = 2
__all__ = ["Fused", "FusionNetwork", "FusionSpec", "Modality"]


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
    interaction
        (B, 2) what the product of the modalities adds to the logits, zeros where not all are there;
        None where the network has none.
    """

    logits: Tensor
    agnostic: dict[str, Tensor]
    known: dict[str, Tensor]
    kinds: dict[str, Tensor]
    weights: dict[str, Tensor]
    interaction: Tensor | None = None


class Modality(nn.Module):
    """From words or pictures, radiomics and a report to one vector.

    Attributes
    ----------
    picture_network
        None where instances are vectors.
    """

    def __init__(self, layout: BranchLayout, spec: FusionSpec, *, pretrained: bool = True) -> None:
        super().__init__()
        d = spec.width
        self.picture_network = (
            PictureNetwork(spec.picture_network, spec.picture_weights, pretrained=pretrained)
            if layout.picture
            else None
        )
        if self.picture_network is not None and self.picture_network.features != layout.features:
            raise SchemaError(
                f"picture network {spec.picture_network} makes {self.picture_network.features} "
                f"numbers of a picture, the layout says {layout.features}",
                hint="build the layout with picture_features(spec.picture_network)",
            )
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
        vectors = batch.words if batch.pictures is None else self._pictured(batch)
        time = batch.time[:, None, None, :].expand(b, n, w, TIMES)
        gate = torch.sigmoid(self.gate(torch.cat([vectors, time], dim=-1)))
        words = self.embed(vectors * gate)
        if w == 1:
            return words[:, :, 0]
        flat, there = words.flatten(0, 1), batch.word_there.flatten(0, 1)
        read, _ = self.between_words(flat, flat, there)
        pooled, _ = self.pool_words(flat + read, there)
        gathered: Tensor = self.word_transform(pooled).unflatten(0, (b, n))
        return gathered

    def _pictured(self, batch: BranchBatch) -> Tensor:
        """Make vectors of the pictures that are there: (B, N, 1, F), zeros elsewhere."""
        if self.picture_network is None or batch.pictures is None:
            return batch.words
        if not bool(batch.there.any()):
            return batch.words
        made = self.picture_network(batch.pictures[batch.there])
        filled = made.new_zeros((*batch.there.shape, made.shape[1]))
        filled[batch.there] = made
        return filled[:, :, None]


class FusionNetwork(nn.Module):
    """Patients to logits; see the module.

    Parameters
    ----------
    layout
        What patients look like.
    spec
        Sizes and the way of joining.
    pretrained
        False where trained weights follow: ``spec.picture_weights`` is then not read.
    """

    def __init__(self, layout: Layout, spec: FusionSpec, *, pretrained: bool = True) -> None:
        super().__init__()
        self.layout, self.spec = layout, spec
        c, names = spec.common, list(layout.branches)
        self.modalities = nn.ModuleDict(
            {n: Modality(layout.branches[n], spec, pretrained=pretrained) for n in names}
        )
        self.lift = nn.ModuleDict({n: nn.Linear(spec.width, c) for n in names})
        self.specific = nn.ModuleDict({n: nn.Linear(c, c) for n in names})
        self.agnostic = nn.ModuleDict({n: nn.Linear(c, c) for n in names})
        self.missing = nn.ParameterDict({n: nn.Parameter(torch.zeros(c)) for n in names})
        self.nothing = nn.Parameter(torch.zeros(c))
        parts = {"mumo": len(names) + 1, "concat": len(names)}.get(spec.fusion, 1)
        self.temperature: Tensor
        self.places: Tensor
        # One for each set of known modalities; 1 in training, then it calibrates.
        self.register_buffer("temperature", torch.ones(2 ** len(names)))
        places = torch.tensor([1 << place for place in range(len(names))], dtype=torch.long)
        self.register_buffer("places", places, persistent=False)
        self.interaction = None
        if spec.fusion == "mumo" and spec.interaction and len(names) > 1:
            self.interaction = Interaction(names, c, CLASSES)
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
        logits, there = self.predict(fused), self._there(known, len(batch))
        together = None
        if self.interaction is not None:
            together = self.interaction(lifted, there)
            logits = logits + together
        warmth = self.temperature[(there * self.places).sum(dim=1)]
        return Fused(logits / warmth[:, None], agnostic, known, kinds, weights, together)

    def _there(self, known: dict[str, Tensor], size: int) -> Tensor:
        """(B, modalities) bool."""
        if not known:
            return torch.zeros((size, 0), dtype=torch.bool, device=self.places.device)
        return torch.stack([known[name] for name in self.layout.branches], dim=1)

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
