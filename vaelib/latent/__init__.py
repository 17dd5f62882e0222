"""Inside a trained model: maps of its latent space, densities, paths between images, and embeddings of codes."""

from vaelib.latent.density import (
    aggregate_log_density,
    class_draws,
    class_gaussian,
    fit_mixture,
    holes,
    holes_of,
    log_density_ratio,
    prior_log_density,
    sample_classes,
    sample_gaussian,
    sample_mixture,
)
from vaelib.latent.embedding import (
    fit_pca,
    knn_accuracy,
    overlap,
    overlaps,
    pca,
    purity,
    separation,
    trustworthiness,
    tsne,
)
from vaelib.latent.maps import (
    centre,
    centre_probabilities,
    costliest,
    costliest_traversals,
    latent_map,
    places,
    plane,
    traversals,
)
from vaelib.latent.paths import (
    between_four,
    closed_walk,
    decoded,
    lerp,
    model_scores,
    nearest,
    nearest_distance,
    pairs,
    scores,
    slerp,
)
