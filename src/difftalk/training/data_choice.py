"""Which of the data a run learns from and is validated on, as `--set data.NAME=VALUE` says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from difftalk.data.pack import samples_of
from difftalk.data.sample import Sample
from difftalk.errors import DataError, InputError
from difftalk.training.people import parted


@dataclass(frozen=True)
class DataChoice:
    """rights: only clips with these. aside: whether the people kept aside are left out of training.

    folder: what prepare wrote. warped: see RenderSource. device: on which pictures are kept.
    """

    rights: str | None = None
    aside: bool = False
    folder: Path | None = None
    warped: bool = True
    device: str = "cpu"

    @classmethod
    def of(cls, settings: Sequence[str]) -> tuple[DataChoice, list[str]]:
        """The data's settings, and those of the recipe."""
        own = dict(s.removeprefix("data.").partition("=")[::2] for s in settings if s.startswith("data."))
        for name, value in own.items():
            if name not in ("rights", "aside") or (name == "aside" and value not in ("true", "false")):
                raise InputError(
                    f"`settings` data.{name}={value}: allowed are data.rights=KIND and data.aside=true or false"
                )
        choice = cls(own.get("rights"), own.get("aside") == "true")
        return choice, [s for s in settings if not s.startswith("data.")]

    def samples(self, split: str) -> list[Sample]:
        """The kept samples of a split with these rights."""
        if self.folder is None:
            raise InputError("no data was given; give a folder that difftalk prepare wrote, or `recipe=debug`")
        samples = [s for s in samples_of(self.folder, split=split) if self.rights in (None, s.record.rights)]
        if not samples:
            raise DataError(f"{self.folder} has no kept {split} sample with rights {self.rights!r}")
        return samples

    def parts(self) -> tuple[list[Sample], list[Sample]]:
        """Samples to train on and to validate on."""
        samples = self.samples("train")
        return parted(samples) if self.aside else (samples, self._held_out())

    def _held_out(self) -> list[Sample]:
        """Validation people, of a pack those that it holds out; where there are none, the first training clips."""
        assert self.folder is not None
        try:
            return samples_of(self.folder, split="val")
        except DataError:
            return samples_of(self.folder)[:4]
