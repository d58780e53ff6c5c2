"""Encoders that can be named: what they are, where their weights are had, under which licence.

The facts were gathered from the makers' model pages and from the public code of TRIDENT (which
loads most of them); what could not be checked is said in ``unchecked`` and shown with the card.
Weights come with none of them, and herscope downloads none: whoever uses them accepts their
licence. Licences change; the maker's page counts, not this list.

``reading`` says how the weights are read here: with transformers, timm or open_clip. Encoders whose
makers give code of their own (``onnx``) are not read directly, since no code of others is run; they
go in as an ONNX file with a card, or as feature files that TRIDENT or STAMP made.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from herscope.core.registry import Registry
from herscope.core.spec import Spec
from herscope.embed.encoder import EncoderCard
from herscope.embed.pixel_preparation import (
    CLIP_MEAN,
    CLIP_STD,
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Colour,
    Preparation,
    preparation,
)

Reading = Literal["built-in", "transformers", "timm", "open_clip", "onnx"]

OPTIMUS_MEAN: Final[Colour] = (0.707223, 0.578729, 0.703617)
OPTIMUS_STD: Final[Colour] = (0.211883, 0.230117, 0.177517)
"""Of the pictures H-optimus was trained on, from its model page (Bioptimus 2024)."""
HIBOU_MEAN: Final[Colour] = (0.7068, 0.5755, 0.722)
HIBOU_STD: Final[Colour] = (0.195, 0.2316, 0.1816)
"""Of Hibou (Nechaev 2024), as TRIDENT has them."""

NC_ND: Final = "CC-BY-NC-ND-4.0"
_VIRCHOW: Final = {
    "img_size": 224,
    "init_values": 1e-5,
    "mlp_ratio": 5.3375,
    "mlp_layer": "swiglu-packed",
    "act_layer": "silu",
}


class KnownEncoder(Spec):
    """An encoder that has a name here."""

    name: str = Field(..., description="Name on the command line.")
    summary: str = Field(..., description="One sentence.")
    features: int = Field(..., ge=1, description="Numbers a tile.")
    preparation: Preparation | None = Field(..., description="What is done to pixels.")
    input_px: int = Field(..., ge=8, description="Edge of what it sees.")
    mpp: float = Field(..., gt=0, description="µm/px it was trained at, or its makers advise.")
    licence: str = Field(..., description="Of the weights.")
    gated: bool = Field(default=False, description="The maker asks for an account and consent.")
    source: str = Field(..., description="Author, year, and where the weights come from.")
    reading: Reading = Field(..., description="What reads the weights.")
    architecture: str | None = Field(default=None, description="timm's name of the network.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Of timm.create_model.")
    pooling: Literal["library", "class-mean"] = Field(
        default="library", description="What is taken as features."
    )
    unchecked: str = Field(default="", description="What of this could not be checked.")

    def card(self, *, precision: str = "float32", weights_sha256: str | None = None) -> EncoderCard:
        """Return the card of this encoder with one file of weights."""
        how = self.preparation
        return EncoderCard(
            name=self.name,
            summary=self.summary,
            features=self.features,
            input_px=self.input_px,
            resize="none" if how is None else how.words,
            mean=(0.0, 0.0, 0.0) if how is None else how.mean,
            std=(1.0, 1.0, 1.0) if how is None else how.std,
            precision=precision,
            licence=self.licence,
            source=self.source,
            weights_sha256=weights_sha256,
        )


ENCODERS: Final[Registry[KnownEncoder]] = Registry("encoder")
"""Encoders by name; :func:`herscope.embed.encoders.open_encoder` opens them."""


def _add(
    name: str,
    features: int,
    words: str,
    colours: tuple[Colour, Colour],
    *,
    reading: Reading,
    summary: str,
    licence: str,
    source: str,
    mpp: float = 0.5,
    gated: bool = False,
    architecture: str | None = None,
    arguments: dict[str, Any] | None = None,
    pooling: Literal["library", "class-mean"] = "library",
    unchecked: str = "",
) -> None:
    how = preparation(words, *colours)
    entry = KnownEncoder(
        name=name,
        summary=summary,
        features=features,
        preparation=how,
        input_px=how.input_px,
        mpp=mpp,
        licence=licence,
        gated=gated,
        source=source,
        reading=reading,
        architecture=architecture,
        arguments=arguments or {},
        pooling=pooling,
        unchecked=unchecked,
    )
    ENCODERS.register(name)(lambda: entry)


_CLIP = (CLIP_MEAN, CLIP_STD)
_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_CROP_224 = "bicubic 224, centre crop 224"

_add(
    "plip",
    512,
    _CROP_224,
    _CLIP,
    reading="transformers",
    summary="CLIP ViT-B/32 trained further on pathology pictures and captions from social media.",
    licence="not stated with the weights; CC-BY-NC-SA intended by the authors",
    source="Huang 2023, Nat Med 29:2307; huggingface.co/vinid/plip",
    unchecked="resolution: its pictures had many; 0.5 µm/px is usual with it",
)
_add(
    "clip-vit-b-32",
    512,
    _CROP_224,
    _CLIP,
    reading="transformers",
    summary="CLIP ViT-B/32, trained on pictures of everything; a baseline.",
    licence="MIT (code; the model page states none and advises against deployment)",
    source="Radford 2021; huggingface.co/openai/clip-vit-base-patch32",
    unchecked="resolution: it knows no micrometres; 0.5 µm/px is usual with tiles",
)
_add(
    "biomedclip",
    512,
    _CROP_224,
    _CLIP,
    reading="open_clip",
    summary="CLIP with ViT-B/16, trained on figures and captions of biomedical papers.",
    licence="MIT",
    source="Zhang 2023; huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    unchecked="resolution: figures of papers; 0.5 µm/px is usual with tiles",
)
_add(
    "musk",
    1024,
    "bicubic 384, centre crop 384",
    (HALF, HALF),
    reading="onnx",
    summary="BEiT-3 trained on pathology pictures and text; its class token.",
    licence=NC_ND,
    gated=True,
    source="Xiang 2025, Nature 638:769; huggingface.co/xiangjx/musk",
    unchecked="licence; resolution; the model page's multi-scale features have 2048 numbers",
)
_add(
    "conch",
    512,
    "bicubic 448, centre crop 448",
    _CLIP,
    reading="onnx",
    summary="CoCa with ViT-B/16 trained on pathology pictures and captions; before its projection.",
    licence=NC_ND,
    gated=True,
    source="Lu 2024, Nat Med 30:863; huggingface.co/MahmoodLab/CONCH",
    unchecked="mean and std",
)
_add(
    "conch-v1.5",
    768,
    "bicubic 448, centre crop 448",
    _IMAGENET,
    reading="onnx",
    summary="ViT-L/16 trained as CONCH was, on more; the tile encoder of TITAN.",
    licence=NC_ND,
    gated=True,
    source="Ding 2025; huggingface.co/MahmoodLab/conchv1_5",
    unchecked="preparation; licence",
)
_add(
    "uni",
    1024,
    "bilinear 224, centre crop 224",
    _IMAGENET,
    reading="timm",
    summary="ViT-L/16 trained by DINOv2 on 100,000 slides.",
    licence=NC_ND,
    gated=True,
    source="Chen 2024, Nat Med 30:850; huggingface.co/MahmoodLab/UNI",
    architecture="vit_large_patch16_224",
    arguments={"img_size": 224, "patch_size": 16, "init_values": 1e-5},
)
_add(
    "uni2-h",
    1536,
    "bilinear 224, centre crop 224",
    _IMAGENET,
    reading="timm",
    summary="ViT-H/14 with registers trained by DINOv2 on 350,000 slides, H&E and IHC.",
    licence=NC_ND,
    gated=True,
    source="Chen 2025; huggingface.co/MahmoodLab/UNI2-h",
    architecture="vit_giant_patch14_224",
    arguments={
        "img_size": 224,
        "patch_size": 14,
        "depth": 24,
        "num_heads": 24,
        "init_values": 1e-5,
        "embed_dim": 1536,
        "mlp_ratio": 5.33334,
        "no_embed_class": True,
        "mlp_layer": "swiglu-packed",
        "act_layer": "silu",
        "reg_tokens": 8,
    },
)
_add(
    "gigapath",
    1536,
    "bicubic 256, centre crop 224",
    _IMAGENET,
    reading="timm",
    summary="ViT-g/16 trained by DINOv2 on 170,000 slides; the tile encoder of Prov-GigaPath.",
    licence="Apache-2.0",
    gated=True,
    source="Xu 2024, Nature 630:181; huggingface.co/prov-gigapath/prov-gigapath",
    architecture="vit_giant_patch14_dinov2",
    arguments={
        "img_size": 224,
        "patch_size": 16,
        "embed_dim": 1536,
        "depth": 40,
        "num_heads": 24,
        "mlp_ratio": 5.33334,
    },
    unchecked="licence",
)
_add(
    "virchow",
    2560,
    "bicubic 224",
    _IMAGENET,
    reading="timm",
    summary="ViT-H/14 trained by DINOv2 on 1.5 million slides; class token and mean of patches.",
    licence="Apache-2.0",
    gated=True,
    source="Vorontsov 2024, Nat Med 30:2924; huggingface.co/paige-ai/Virchow",
    architecture="vit_huge_patch14_224",
    arguments=_VIRCHOW,
    pooling="class-mean",
    unchecked="licence",
)
_add(
    "virchow2",
    2560,
    "bicubic 224",
    _IMAGENET,
    reading="timm",
    summary="ViT-H/14 with registers trained by DINOv2 on 3.1 million slides; class and mean.",
    licence=NC_ND,
    gated=True,
    source="Zimmermann 2024; huggingface.co/paige-ai/Virchow2",
    architecture="vit_huge_patch14_224",
    arguments={**_VIRCHOW, "reg_tokens": 4},
    pooling="class-mean",
    unchecked="licence; resolution (several; 0.5 µm/px is one)",
)
_add(
    "h-optimus-0",
    1536,
    "bilinear 224",
    (OPTIMUS_MEAN, OPTIMUS_STD),
    reading="timm",
    summary="ViT-g/14 with registers trained by DINOv2 on 500,000 H&E slides.",
    licence="Apache-2.0",
    source="Saillard 2024 (Bioptimus); huggingface.co/bioptimus/H-optimus-0",
    architecture="vit_giant_patch14_reg4_dinov2",
    arguments={"img_size": 224, "init_values": 1e-5, "global_pool": "token"},
    unchecked="resizing: its page gives tiles of 224 px and resizes none",
)
_add(
    "h-optimus-1",
    1536,
    "bilinear 224",
    (OPTIMUS_MEAN, OPTIMUS_STD),
    reading="timm",
    summary="The successor of H-optimus-0, of the same architecture.",
    licence=NC_ND,
    gated=True,
    source="Bioptimus 2025; huggingface.co/bioptimus/H-optimus-1",
    architecture="vit_giant_patch14_reg4_dinov2",
    arguments={"img_size": 224, "init_values": 1e-5, "global_pool": "token"},
    unchecked="resizing: its page gives tiles of 224 px and resizes none",
)
_add(
    "phikon",
    768,
    "bilinear to 224 x 224",
    _IMAGENET,
    reading="transformers",
    summary="ViT-B/16 trained by iBOT on TCGA.",
    licence="Owkin's non-commercial licence",
    source="Filiot 2023; huggingface.co/owkin/phikon",
    unchecked="licence; filter of the resizing",
)
_add(
    "phikon-v2",
    1024,
    "bilinear 224, centre crop 224",
    _IMAGENET,
    reading="transformers",
    summary="ViT-L/16 trained by DINOv2 on public slides.",
    licence="Owkin's non-commercial licence",
    source="Filiot 2024; huggingface.co/owkin/phikon-v2",
    unchecked="licence; filter of the resizing",
)
_add(
    "hibou-b",
    768,
    _CROP_224,
    (HIBOU_MEAN, HIBOU_STD),
    reading="onnx",
    summary="ViT-B/14 with registers trained by DINOv2 on a million slides.",
    licence="Apache-2.0",
    source="Nechaev 2024; huggingface.co/histai/hibou-b",
    unchecked="licence; resolution",
)
_add(
    "hibou-l",
    1024,
    _CROP_224,
    (HIBOU_MEAN, HIBOU_STD),
    reading="onnx",
    summary="ViT-L/14 with registers trained by DINOv2 on a million slides.",
    licence="Apache-2.0",
    source="Nechaev 2024; huggingface.co/histai/hibou-L",
    unchecked="licence; resolution",
)
_add(
    "kaiko-vitb16",
    768,
    "bilinear 224, centre crop 224",
    (HALF, HALF),
    reading="timm",
    summary="ViT-B/16 trained by DINO on TCGA.",
    licence="MIT",
    source="Aben 2024; huggingface.co/1aurent/vit_base_patch16_224.kaiko_ai_towards_large_"
    "pathology_fms",
    architecture="vit_base_patch16_224",
    arguments={"img_size": 224},
    unchecked="licence; resolution (several; 0.5 µm/px is one)",
)
_add(
    "mnasnet",
    1280,
    "bicubic 224",
    _IMAGENET,
    reading="timm",
    summary="MnasNet 1.0, trained on pictures of everything; small, and quick without a GPU.",
    licence="Apache-2.0",
    source="Tan 2019 (trained by Wightman); huggingface.co/timm/mnasnet_100.rmsp_in1k",
    architecture="mnasnet_100",
    unchecked="resolution: it knows no micrometres; its maker crops 224 px of 256, which would cut "
    "off the border of tiles; the response paper took torchvision's weights on 64 px as they are",
)
