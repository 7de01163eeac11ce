"""The frozen Whisper-tiny encoder (Radford et al. 2022) in torch: log-mel -> speech features.

Only exported, never trained. Does not compute the log-mel: `speech/features.py` does, for training and inference alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.speech.features import FEATURE_LAYERS, LAYER_SIZE

WIDTH: Final = LAYER_SIZE
HEADS: Final = 6
LAYERS: Final = 4
MELS: Final = 80
POSITIONS: Final = 1500


class Attention(nn.Module):
    """Multi-head self-attention, Whisper's names."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (net(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for net in (self.query, self.key, self.value))
        out: Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.attn_ln, self.mlp_ln = Attention(), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class SpeechEncoder(nn.Module):
    """mel (batch, 80, 2 n) at 100 Hz -> features (batch, n, 1152) at 50 Hz; n at most 1500.

    Features are the outputs of the last three blocks, one after the other; the last is Whisper's own output.
    """

    positional_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(POSITIONS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_post = nn.LayerNorm(WIDTH)

    @classmethod
    def load(cls, path: Path) -> SpeechEncoder:
        """From a safetensors file of Whisper's own names, any float type."""
        from safetensors.torch import load_file

        net = cls()
        net.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return net.eval()

    def forward(self, mel: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        heard = []
        for block in self.blocks:
            x = block(x)
            heard.append(x)
        heard[-1] = self.ln_post(x)
        return torch.cat(heard[-FEATURE_LAYERS:], -1)
