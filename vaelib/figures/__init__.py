"""Arrays and tables in, a figure out. Pictures may have any square side, classes any names."""

from vaelib.figures.curves import (
    ablation,
    beta_curve,
    bounds,
    by_dimension,
    crossed,
    curves,
    differences,
    dimensions,
    grid_curves,
    grid_terms,
    loss_curves,
    on_log_axis,
    pareto,
    rate_distortion,
    traces,
)
from vaelib.figures.films import film, frames_of, gif, morph, player, sheets
from vaelib.figures.images import (
    image_grid,
    latent_map,
    maps,
    reconstructions,
    reconstructions_by_cell,
    shown_epochs,
    squares,
    strips,
    tiled,
    traversals,
    whole_rows,
)
from vaelib.figures.latent import (
    embeddings,
    holes,
    interactive,
    matrices,
    scatter,
    scatter_3d,
    scatter_3d_static,
    standalone,
    territories,
)
from vaelib.figures.style import arch_colour, arch_marker, class_colours, page, saved, shortened
