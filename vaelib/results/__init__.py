"""Many runs become tables: found, summarised, averaged over seeds, and compared with intervals."""

from vaelib.results.arithmetic import arithmetic
from vaelib.results.compare import (
    ablation,
    at_each_dimension,
    by_model,
    compare,
    contrast,
    interval,
    interval_text,
    read_sizes,
    read_study,
    verdict,
)
from vaelib.results.evidence import gather
from vaelib.results.tables import (
    at,
    by_cell,
    find_runs,
    first_seed,
    largest,
    mean_and_deviation,
    near,
    shares,
    split_by_arch,
    study_table,
    summary,
    table_by_cell,
    table_of,
    title,
    trained,
    versions,
)
