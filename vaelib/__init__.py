"""Train and measure variational autoencoders on small grey images.

>>> import vaelib
>>> run = vaelib.train(dataset="digits", arch="conv", latent_dim=2, epochs=2)
>>> model = run.model()
>>> pictures = model.sample(64)

The rooms hold the rest: vaelib.data (images come in), vaelib.models (networks), vaelib.training (a config becomes a
run), vaelib.latent (inside a trained model), vaelib.evaluation (a run is measured), vaelib.results (runs become
tables), vaelib.figures (tables and arrays become figures).
"""

import importlib

__version__ = "0.1.0"

# Each name of the face and the room that it comes from. A room is imported when a name of it is first used, because
# PyTorch takes seconds to import and a wrong flag on the command line shall be answered at once.
_ROOMS = {
    "train": "training",
    "train_classifier": "training",
    "load": "training",
    "Run": "training",
    "evaluate": "evaluation",
    "fid": "evaluation",
    "compare": "results",
    "TrainingConfig": "config",
    "InputError": "config",
}
__all__ = list(_ROOMS)


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module 'vaelib' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vaelib.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
