"""Inception, the customary network whose features image sets are compared by, with its weights from elsewhere."""

import hashlib
import http.client
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vaelib.config import InputError, expanded
from vaelib.data.sets import as_float, as_images

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_BATCH = 50


@dataclass(frozen=True)
class Inception:
    """pytorch-fid's Inception v3, which learnt ImageNet: Heusel et al. 2017. Its 2,048 features are the last pool's."""

    network: torch.nn.Module
    sha256: str

    @classmethod
    def load(cls, path: str | os.PathLike | None = None, sha256: str = INCEPTION_SHA256) -> Self:
        """The network with the weights at the path, or else those in torch's cache, downloaded on first use.

        InputError where they are not to be had, or are not what the checksum says.
        """
        from pytorch_fid import inception

        url = inception.FID_WEIGHTS_URL
        file = Path(expanded(path)) if path else Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
        if not file.is_file():
            if path:
                raise InputError(f"{file} is no file: accepted are the weights that lie at {url}")
            _download(url, file)
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != sha256:
            raise InputError(f"{file} has sha256 {found}, wanted {sha256}: put the file there that lies at {url}")
        # pytorch-fid would download the weights again and check nothing, so it is handed the file that was checked.
        state = torch.load(file, map_location="cpu", weights_only=True)
        with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
            network = inception.InceptionV3()
        return cls(network.eval(), found)

    def facts(self) -> dict[str, str]:
        return {"network": "Inception v3 of pytorch-fid", "sha256 of its weights": self.sha256}

    @torch.no_grad()
    def features(self, images: Tensor | np.ndarray) -> Tensor:
        """Features of each image, (N, 2048). Its own code resizes to 299x299; a progress bar, as it takes minutes."""
        images, parts = as_images(images), []
        with tqdm(total=len(images), unit=" images", desc="Inception", disable=None, leave=False) as bar:
            for batch in images.split(INCEPTION_BATCH):
                parts.append(self.network(as_float(batch).expand(-1, 3, -1, -1))[0].flatten(1))
                bar.update(len(batch))
        return torch.cat(parts)


def _download(url: str, file: Path):
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), INCEPTION_SHA256, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(
            f"Inception's weights cannot be downloaded ({error}): fetch {url} elsewhere, then give its path "
            f"with --inception-weights, or put it into {file.parent}"
        ) from error
