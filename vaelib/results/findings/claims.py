"""What earlier reports on this subject claim of VAEs: fifteen findings, decided anew by any runs."""

import math
from dataclasses import dataclass

import pandas as pd

from vaelib.results.findings import choices, codes, losses, pictures
from vaelib.results.findings.finding import Finding

# The reports that make the claims, in their order.
MADE_BY = (
    "TME 9", "TME 9; Duthoit and Wan-Fat", "TME 9", "TME 9; Duthoit and Wan-Fat", "GenZoo",
    "Duthoit and Wan-Fat", "Duthoit and Wan-Fat", "Duthoit and Wan-Fat", "TME 9", "guipet",
    "GenZoo", "GenZoo", "Messaoudi and Sykes", "Messaoudi and Sykes", "Messaoudi and Sykes",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """The tables that the claims are decided by; one that there are no runs for is None.

    grid        runs of the grid, with the measures of metrics.json
    classes     the same runs, with the measures by class
    histories   arch, latent_dim, seed, epoch and the test kl after it
    steps       arch, latent_dim, seed, step and the kl of its batch, through the first epoch
    equal       at_each_dimension of runs matched in their parameters
    sized       runs of several sizes, with parameters and seconds of training
    weights     runs of several k1 and k2
    noise       runs by the noise that they were trained and tested with
    log_images  log of the number of test images, in nats
    """

    grid: pd.DataFrame | None = None
    classes: pd.DataFrame | None = None
    histories: pd.DataFrame | None = None
    steps: pd.DataFrame | None = None
    equal: pd.DataFrame | None = None
    sized: pd.DataFrame | None = None
    weights: pd.DataFrame | None = None
    noise: pd.DataFrame | None = None
    log_images: float = math.inf


def decided(evidence: Evidence) -> list[Finding]:
    """The verdicts on the fifteen claims, in their order."""
    e = evidence
    return [
        losses.reconstruction_falls(e.grid),
        choices.conv_beats_linear(e.equal, e.sized),
        choices.half_the_parameters(e.sized),
        losses.lower_kl(e.grid, e.log_images),
        losses.kl_rises(e.histories, e.steps),
        pictures.sharper_not_more_plausible(e.grid),
        pictures.plausible_paths(e.grid),
        codes.eight_at_the_centre(e.classes),
        codes.edge_and_mistakes(e.classes),
        codes.four_and_nine_overlap(e.classes),
        codes.class_is_gaussian(e.grid, e.classes),
        codes.ten_clusters(e.grid),
        choices.equal_weights_are_best(e.weights),
        pictures.noise_helps(e.noise),
        pictures.fid_of_the_architectures(e.equal, e.grid),
    ]


def explained(claims: list[Finding]) -> str:
    """The claims in Markdown, a paragraph each: who made it, verdict, numbers, figure, criterion."""
    texts = []
    for number, (claim, maker) in enumerate(zip(claims, MADE_BY, strict=True), start=1):
        text = claim.sentence.removeprefix("Not decided: ")
        seen = f"{{ref}}`where it is seen <{claim.where}>`"
        texts.append(
            f"**{number}. {claim.claim}** ({maker})\n\n"
            f"*{claim.verdict.capitalize()}.* {text[0].upper()}{text[1:]} ({seen})\n\n"
            f"Decided by: {claim.criterion}"
        )
    return "\n\n---\n\n".join(texts)
