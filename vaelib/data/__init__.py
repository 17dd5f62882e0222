"""Images come in: the known sets, own images from files and arrays, and what is done to a set before it is used."""

from vaelib.data.files import read_array, read_pictures
from vaelib.data.mnist import FILES, cache_folder
from vaelib.data.sets import (
    ImageData,
    as_float,
    as_images,
    corrupt,
    examples,
    from_arrays,
    hold_out,
    labels_of,
    load,
    one_per_class,
    stratified,
)
