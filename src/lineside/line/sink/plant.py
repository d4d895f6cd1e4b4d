"""What a sink may know of the line that it serves: what the line can look for, and whom to ask.

A recipe is what looks at one product: the bundles of all cameras. Its hash is the bundle's sha256 where every camera
has the same; else the sha256 over those of the bundles, as hexadecimal text, one a line, in the order of the cameras.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever reads line.toml imports this: not the whole line with it
    from lineside.line.messages import Ask
    from lineside.line.view import View


@dataclass(frozen=True, slots=True)
class Recipe:
    product: str
    sha256: str  # hex
    created: datetime  # of the newest of its bundles


@dataclass(frozen=True, slots=True)
class Plant:
    recipes: tuple[Recipe, ...] = ()  # in the order of the settings
    ask: "Ask | None" = None  # None: nobody here takes orders
    simulated: bool = False  # its parts are none


NO_PLANT = Plant()  # a sink for its own sake
SIMULATED = ("nuts:",)  # sources that show no real part


def simulated(source: str) -> bool:
    """Whether a source, by its URL, shows no real part."""
    return source.startswith(SIMULATED)


def recipes(views: "Sequence[View]") -> tuple[Recipe, ...]:
    """One for each product, out of the models that were opened."""
    return tuple(_recipe(product, views) for product in views[0].models)


def _recipe(product: str, views: "Sequence[View]") -> Recipe:
    models = [view.models[product] for view in views]
    created = max(datetime.fromisoformat(model.manifest.created) for model in models)
    return Recipe(product, hash_of([model.sha256 for model in models]), created)


def hash_of(bundles: Sequence[str]) -> str:
    """A recipe's, from those of its bundles in the order of the cameras."""
    return bundles[0] if len(set(bundles)) == 1 else hashlib.sha256("\n".join(bundles).encode()).hexdigest()
