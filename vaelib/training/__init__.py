"""A config becomes a run: devices, steps, the loop, the run's directory, and the classifier that judges pictures."""

from vaelib.training.classifier import Classifier, find_classifier, is_classifier, train_classifier
from vaelib.training.device import pick_device, pick_precision, seeded
from vaelib.training.loop import train
from vaelib.training.run import Run, load, npz_bytes, shorter_runs, write
from vaelib.training.step import new_optimizer, train_epoch
