"""What sets one simulated tenant apart from another."""

from dataclasses import dataclass
from typing import Literal

from examples.simulator.columns import Column

Style = Literal["email", "call", "chat"]


@dataclass(frozen=True)
class Kind:
    """A kind of interaction.

    per_day: mean number a day for a fresh lead whose attributes have no effect.
    window_days, weight: a day's log-odds of converting gain weight * log(1 + number of this kind
        in the last window_days days); window_days is at most 30.
    style: how its text is written; None for a kind without text.
    """

    name: str
    per_day: float
    window_days: int
    weight: float
    style: Style | None = None


@dataclass(frozen=True)
class Milestone:
    """A boolean attribute that starts false and may turn true while the lead is open.

    per_day: chance of turning true on a day; weight: its effect from then on, in log-odds.
    """

    name: str
    per_day: float
    weight: float


@dataclass(frozen=True)
class Together:
    """Two attributes that count for more, or less, when both have the value named."""

    first: tuple[str, str]
    second: tuple[str, str]
    weight: float


@dataclass(frozen=True)
class DealSize:
    """A deal is expected to bring `amount` where the numeric attribute `column` is `typical`."""

    column: str
    typical: float
    amount: float


@dataclass(frozen=True)
class TenantProfile:
    """A tenant to simulate; dataclasses.replace(profile, name=..., leads=...) gives its likes.

    name: the tenant's slug; ids and random numbers derive from it.
    language: of its texts, a file of examples/simulator/phrases.
    leads: number of leads created over the history. customers: those won before it begins.
    daily_conversion: chance that a lead converts on a day, where nothing pushes it up or down.
    columns: the leads' attributes, besides `milestone` and the text `note`, which has no effect.
    """

    name: str
    language: Literal["en", "de", "es"]
    leads: int
    customers: int
    daily_conversion: float
    columns: tuple[Column, ...]
    together: Together
    milestone: Milestone
    note: str
    kinds: tuple[Kind, ...]
    deal_size: DealSize
    products: tuple[str, ...]

    @property
    def noise_columns(self) -> tuple[str, ...]:
        """Names of the attributes that have no effect on conversion."""
        paired = {self.together.first[0], self.together.second[0]}
        silent = (c.name for c in self.columns if c.is_noise and c.name not in paired)
        return (*silent, self.note)
