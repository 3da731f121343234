"""The part of a plan that says which corruptions are tried, at which severities."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imaseg.corruptions import SEVERITIES, Corruption


class CorruptionPlan(BaseModel):
    """Corruptions of an audit; `corruptions: all` and `corruptions: [motion, gamma]` are short for `names`.

    Attributes:
        names: registered names, or "all": each case then gets those that occur in such images.
        severities: among 1 to 5.
        seed: of what is drawn; None for that of the plan.
    """

    model_config = ConfigDict(extra="forbid")

    names: Annotated[list[str], Field(min_length=1)] | Literal["all"] = "all"
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(list(SEVERITIES), min_length=1)
    seed: int | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, content: Any) -> Any:
        return {"names": content} if isinstance(content, str | list) else content

    def model_post_init(self, context: Any, /) -> None:
        """Sort the severities."""
        self.severities = sorted(set(self.severities))

    def build(self, seed: int) -> list[Corruption]:
        """The corruptions, each once.

        Args:
            seed: of the plan.

        Raises:
            ValueError: if a name is unknown.
        """
        names = list(Corruption.known()) if self.names == "all" else list(dict.fromkeys(self.names))
        return [Corruption.build(name, seed=seed if self.seed is None else self.seed) for name in names]

    @property
    def images(self) -> int:
        """Images per case, at most; each costs one forward pass."""
        return len(self.build(0)) * len(self.severities)
