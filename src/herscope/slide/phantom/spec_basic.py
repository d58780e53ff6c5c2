"""The parameters every phantom has: size, marker, grades, cells, counterstain, light, artefacts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from herscope.core.spec import Spec

Share = Annotated[float, Field(ge=0, le=1)]
StainKind = Literal["nuclear", "membrane", "cytoplasmic", "he"]
Amount = Annotated[float, Field(ge=0, le=2.5)]
Four = tuple[Amount, Amount, Amount, Amount]


class BasicFields(Spec):
    """Fields with the defaults of a small slide of breast carcinoma."""

    width_um: float = Field(default=1000.0, gt=0, description="Width of the slide.")
    height_um: float = Field(default=1000.0, gt=0, description="Height of the slide.")
    mpp: float = Field(
        default=0.25, ge=0.1, le=2.0, description="Micrometres per pixel at level 0."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of every random choice.")
    stain: StainKind = Field(
        default="nuclear",
        description="Where the marker sits; 'he' is haematoxylin and eosin, no DAB.",
    )

    # what stains how much
    tumor_grade_fractions: Four = Field(
        default=(0.4, 0.25, 0.2, 0.15), description="Shares of tumour cells drawn as 0, 1+, 2+, 3+."
    )
    stroma_grade_fractions: Four = Field(
        default=(0.97, 0.03, 0.0, 0.0), description="Shares of stroma cells drawn as 0, 1+, 2+, 3+."
    )
    grade_od: Four = Field(
        default=(0.04, 0.30, 0.50, 0.85),
        description="Mean DAB optical density of a cell drawn as 0, 1+, 2+, 3+.",
    )
    grade_od_sd: Four = Field(
        default=(0.012, 0.03, 0.03, 0.08),
        description="Cell-to-cell SD of that density; bell-shaped, cut at 3 SD.",
    )
    grade_cuts: tuple[Amount, Amount, Amount] = Field(
        default=(0.2, 0.4, 0.6),
        description="Densities at which the truth's grades 1+, 2+, 3+ begin.",
    )
    grade_clustering: Share = Field(
        default=0.0,
        description="0: grades are independent of place; 1: neighbours share their grade.",
    )
    dab_texture: float = Field(
        default=0.18,
        ge=0,
        le=0.6,
        description="Relative SD of DAB inside one cell; its mean is kept.",
    )
    unspecific_dab_od: float = Field(
        default=0.012, ge=0, le=1, description="Unspecific DAB over all tissue outside the marker."
    )
    membrane_complete: Share = Field(
        default=0.7, description="Share of membrane-stained cells with staining all around."
    )
    membrane_incomplete: Share = Field(
        default=0.25, description="Share with broken staining in 1 to 3 arcs."
    )
    membrane_basolateral: Share = Field(
        default=0.05, description="Share with a U-shaped staining, the apex free (gastric pattern)."
    )
    membrane_incomplete_coverage: tuple[Share, Share] = Field(
        default=(0.3, 0.75), description="Lowest and highest stained part of a broken membrane."
    )
    membrane_width_um: float = Field(
        default=1.2,
        ge=0.4,
        le=3,
        description="Width of the line between two cells, half from each.",
    )
    membrane_blush: Share = Field(
        default=0.08,
        description="DAB in the cytoplasm of a membrane-stained cell, as share of its density.",
    )

    # where things are
    tissue_fraction: Share = Field(
        default=0.85, description="Share of the slide's area that is tissue."
    )
    tumor_fraction: Share = Field(
        default=0.5, description="Share of the tissue's area that is tumour."
    )
    fat_fraction: Share = Field(default=0.05, description="Share of the tissue's area that is fat.")
    island_um: float = Field(
        default=220.0, ge=30, le=5000, description="Typical distance between tumour islands."
    )
    single_cell: bool = Field(
        default=False, description="Exactly one tumour cell, in the middle, whatever the densities."
    )

    # cells
    tumor_cells_per_mm2: float = Field(
        default=4500.0, ge=300, le=9000, description="Tumour cells per mm² of tumour."
    )
    stroma_cells_per_mm2: float = Field(
        default=1500.0,
        ge=0,
        le=7000,
        description="Stroma cells per mm² of stroma, before crowding.",
    )
    lymphocyte_fraction: Share = Field(
        default=0.35,
        description="Share of stroma cells that are lymphocytes; most lie in clusters.",
    )
    nucleus_diameter_um: float = Field(
        default=9.6, ge=5, le=20, description="Mean tumour nucleus diameter (circle of equal area)."
    )
    nucleus_diameter_sd_um: float = Field(
        default=1.1, ge=0, le=5, description="SD of that diameter."
    )
    nucleus_elongation: float = Field(
        default=1.5,
        ge=1,
        le=3,
        description="Largest ratio of long to short axis of a tumour nucleus.",
    )
    cell_radius_um: float = Field(
        default=11.0,
        ge=5,
        le=20,
        description="Largest radius of a tumour cell that has no neighbour.",
    )
    wobble_um: float = Field(
        default=0.55,
        ge=0,
        le=0.8,
        description="SD by which smooth noise bends nuclei and membranes.",
    )

    # counterstain
    hematoxylin_od: float = Field(
        default=0.42, ge=0, le=1.5, description="Mean haematoxylin of a tumour nucleus."
    )
    hematoxylin_sd: float = Field(
        default=0.22, ge=0, le=0.8, description="Relative cell-to-cell SD of nuclear haematoxylin."
    )
    chromatin_texture: float = Field(
        default=0.18, ge=0, le=0.6, description="Relative SD of haematoxylin inside one nucleus."
    )
    cytoplasm_hematoxylin_od: float = Field(
        default=0.055, ge=0, le=0.5, description="Faint blue of cytoplasm and fibres in IHC."
    )
    eosin_od: float = Field(
        default=0.22, ge=0, le=1, description="Mean eosin of cytoplasm, 'he' only."
    )
    stain_rotation_deg: float = Field(
        default=0.0,
        ge=-20,
        le=20,
        description="Turns haematoxylin and DAB in their plane towards each other (variation).",
    )

    # light, sensor, file
    white_point: tuple[int, int, int] = Field(
        default=(243, 243, 245), description="Red, green, blue of the empty slide, each 128 to 255."
    )
    shading: float = Field(
        default=0.004,
        ge=0,
        le=0.2,
        description="Largest relative fall of illumination, slow in space.",
    )
    noise_sd: float = Field(
        default=1.2, ge=0, le=20, description="Sensor noise SD in 8-bit levels."
    )
    blur_sigma_um: float = Field(
        default=0.25, ge=0, le=3, description="Gaussian blur of the optics."
    )
    jpeg_quality: int = Field(
        default=90, ge=30, le=100, description="JPEG quality of the file's tiles."
    )
    tile_px: Literal[256, 512] = Field(default=256, description="Side of the file's tiles.")

    # artefacts
    pen_marks: int = Field(
        default=0, ge=0, le=20, description="Felt-pen strokes on the cover glass."
    )
    dust: int = Field(default=0, ge=0, le=2000, description="Dust grains.")
    folds: int = Field(default=0, ge=0, le=20, description="Tissue folds, about twice the dye.")
    defocus_patches: int = Field(default=0, ge=0, le=20, description="Round patches out of focus.")
    defocus_sigma_um: float = Field(
        default=2.0, ge=0.25, le=8, description="Blur inside those patches."
    )
    bubbles: int = Field(default=0, ge=0, le=20, description="Air bubbles under the cover glass.")
    border_um: float = Field(
        default=0.0, ge=0, description="Width of a black frame around the scan."
    )
