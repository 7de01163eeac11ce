"""Latent diffusion as a whole: a first stage and the denoiser of its latents, kept as one so that they always fit."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import Self

from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.denoiser import Denoiser
from difftalk.nets.sizes import DenoiserSizes, FirstStageSizes


class LatentDiffusion(nn.Module):
    """The encoder never trains here: latents keep their meaning. The rest of the first stage does if `along`."""

    def __init__(self, first_stage: FirstStageSizes, denoiser: DenoiserSizes, *, along: bool) -> None:
        super().__init__()
        self.first_stage, self.denoiser = FirstStage(first_stage), Denoiser(denoiser)
        self.first_stage.requires_grad_(False)
        if along:
            self.first_stage.composite_path.requires_grad_(True)
            self.first_stage.decoder.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but the encoder, whose statistics stay."""
        super().train(mode)
        self.first_stage.encoder.eval()
        return self

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        """picture (b, 3, 128, 176) in [-1, 1] -> latent (b, 8, 16, 22) in f32."""
        return self.first_stage.encode(picture).float()
