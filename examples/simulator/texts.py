"""What people write and say in a simulated CRM, composed from the sentences in phrases/."""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from examples.simulator.columns import Ints
from examples.simulator.profile import TenantProfile

SENTIMENTS = ("positive", "neutral", "negative")
PAINS = ("price", "support", "reliability", "onboarding", "integration", "billing")


class Writer:
    """Writes in the language of one tenant, about its products."""

    def __init__(self, profile: TenantProfile, rng: np.random.Generator) -> None:
        self._phrases = _phrases(profile.language)
        self._styles = [kind.style for kind in profile.kinds]
        self._products = profile.products
        self._rng = rng

    def notes(self, n: int) -> pl.Series:
        """n notes on leads, as a salesperson keeps them."""
        said = self._phrases["lead"]
        same = np.zeros(n, np.int64)
        return _joined([self._pick([said[part]], same) for part in ("notes", "next_steps")])

    def from_leads(self, kinds: Ints) -> pl.Series:
        """A text of a lead for each kind of interaction; it does not tell who will convert.

        kinds: positions in the profile's kinds; the text of a kind that has none is null.
        """
        said = self._phrases["lead"]
        same = np.zeros(len(kinds), np.int64)
        return self._framed(
            kinds, self._pick([said["interests"]], same), self._pick([said["questions"]], same)
        )

    def from_customers(self, kinds: Ints, sentiments: Ints, pains: Ints) -> pl.Series:
        """A text of a customer for each kind of interaction, null where the kind has none.

        sentiments: position in SENTIMENTS of what the text shows.
        pains: position in PAINS of the pain point that it names; -1 for none.
        """
        said = self._phrases["customer"]
        moods = self._pick([said["sentiment"][mood] for mood in SENTIMENTS], sentiments)
        matters = self._pick([said["topics"], *(said["pain"][pain] for pain in PAINS)], pains + 1)
        return self._framed(kinds, matters, moods)

    def firms(self, n: int) -> pl.Series:
        """n names of companies, not all different."""
        parts = [self._phrases["names"][part] for part in ("firms", "trades", "forms")]
        same = np.zeros(n, np.int64)
        return _joined([self._pick([part], same) for part in parts])

    def _framed(self, kinds: Ints, *sentences: pl.Series) -> pl.Series:
        openings = [self._phrases["openings"].get(style) for style in self._styles]
        closings = [self._phrases["closings"].get(style) for style in self._styles]
        return _joined([self._pick(openings, kinds), *sentences, self._pick(closings, kinds)])

    def _pick(self, pools: Sequence[Sequence[str] | None], which: Ints) -> pl.Series:
        """A random sentence of pools[which] for each element of `which`; null from no pool."""
        filled = [self._filled(pool) if pool else [None] for pool in pools]
        sizes = np.array([len(pool) for pool in filled])
        starts = np.cumsum(sizes) - sizes
        chosen = starts[which] + (self._rng.random(len(which)) * sizes[which]).astype(np.int64)
        sentences = [sentence for pool in filled for sentence in pool]
        return pl.Series(sentences, dtype=pl.String).gather(chosen)

    def _filled(self, pool: Sequence[str]) -> list[str | None]:
        """Every sentence with every product and name that it has room for, each equally often."""
        names = self._phrases["names"]["given"]
        return [
            sentence.replace("{product}", product).replace("{name}", name)
            for sentence in pool
            for product in self._products
            for name in names
        ]


@cache
def _phrases(language: str) -> dict[str, Any]:
    file = Path(__file__).with_name("phrases") / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _joined(parts: Sequence[pl.Series]) -> pl.Series:
    frame = pl.DataFrame({str(position): part for position, part in enumerate(parts)})
    return frame.select(pl.concat_str(pl.all(), separator=" ")).to_series()
