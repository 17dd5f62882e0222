"""Train and measure variational autoencoders on small grey images."""

__version__ = "0.1.0"


class InputError(ValueError):
    """What was asked for cannot be done; the message names the value and what would be accepted."""
