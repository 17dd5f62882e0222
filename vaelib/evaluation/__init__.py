"""A run becomes metrics.json: likelihood, what codes carry, and how good samples are."""

from vaelib.evaluation.evaluate import Depth, evaluate
from vaelib.evaluation.inception import Inception
from vaelib.evaluation.latents import usual_perplexity
from vaelib.evaluation.likelihood import (
    ACTIVE,
    active_units,
    aggregate_terms,
    effective_samples,
    importance_bounds,
    log_weights,
)
from vaelib.evaluation.metrics import (
    bound_counts,
    by_class,
    noises,
    per_image,
    read,
    report,
    values,
)
from vaelib.evaluation.samples import (
    controls,
    fid,
    fid_infinity,
    frechet,
    kid,
    neighbourhoods,
    radii,
    read_images,
    remembered,
    sharpness,
)
