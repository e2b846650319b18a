"""US states of real airports, in the role of ScienceQA: multiple choice, half with a map and half text only."""

from __future__ import annotations

import functools
import math
import random
from typing import NamedTuple

from extract.datasets.suite.canvas import CELLS, COLOURS, GREY, SIDE, Canvas, cell_of
from extract.datasets.suite.scene import Scene, SceneQuestion, Task, dataset
from extract.datasets.suite.vega import vega_table

STATES = {
    "AL": "Alabama", "AR": "Arkansas", "AZ": "Arizona", "CA": "California", "CO": "Colorado", "CT": "Connecticut",
    "FL": "Florida", "GA": "Georgia", "IA": "Iowa", "ID": "Idaho", "IL": "Illinois", "IN": "Indiana", "KS": "Kansas",
    "KY": "Kentucky", "LA": "Louisiana", "MA": "Massachusetts", "MD": "Maryland", "ME": "Maine", "MI": "Michigan",
    "MN": "Minnesota", "MO": "Missouri", "MS": "Mississippi", "MT": "Montana", "NC": "North Carolina",
    "ND": "North Dakota", "NE": "Nebraska", "NH": "New Hampshire", "NJ": "New Jersey", "NM": "New Mexico",
    "NV": "Nevada", "NY": "New York", "OH": "Ohio", "OK": "Oklahoma", "OR": "Oregon", "PA": "Pennsylvania",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah", "VA": "Virginia",
    "VT": "Vermont", "WA": "Washington", "WI": "Wisconsin", "WV": "West Virginia", "WY": "Wyoming",
}  # fmt: skip
WEST, EAST, SOUTH, NORTH = -125.0, -66.5, 24.0, 49.5


class Town(NamedTuple):
    """A town with an airport. `on_map`: the question shows a map instead of the town's name."""

    town: str
    state: str
    latitude: float
    longitude: float
    on_map: bool


@functools.cache
def _airports() -> list[dict[str, str]]:
    rows = [row for row in vega_table("airports.csv") if row["country"] == "USA"]
    return [r for r in rows if WEST < float(r["longitude"]) < EAST and SOUTH < float(r["latitude"]) < NORTH]


def material() -> list[Town]:
    """Every town of the chosen states once, except towns whose name exists in two of the states."""
    towns: dict[str, list[dict[str, str]]] = {}
    for row in _airports():
        towns.setdefault(row["city"], []).append(row)
    places: list[Town] = []
    for town, rows in sorted(towns.items()):
        state = rows[0]["state"]
        if len({row["state"] for row in rows}) == 1 and state in STATES and STATES[state] not in town:
            on_map = len(places) % 2 == 0
            latitude, longitude = float(rows[0]["latitude"]), float(rows[0]["longitude"])
            places.append(Town(town, STATES[state], latitude, longitude, on_map))
    return places


def draw(place: Town, rng: random.Random) -> Scene:
    """A red dot among all airports, or only the town's name, with three states to choose from."""
    others = sorted(set(STATES.values()) - {place.state})
    choices = [place.state, *rng.sample(others, 2)]
    rng.shuffle(choices)
    if not place.on_map:
        return Scene(None, (SceneQuestion(f"In which state is {place.town}?", place.state, tuple(choices)),))
    canvas = Canvas()
    for row in _airports()[::3]:
        canvas.dot(_position(float(row["latitude"]), float(row["longitude"])), 0.8, GREY)
    dot = _position(place.latitude, place.longitude)
    canvas.dot(dot, rng.uniform(4, 5), COLOURS["red"])
    words = ["map"] * CELLS**2
    words[cell_of(dot)] = place.state
    question = SceneQuestion("In which state is the red dot?", place.state, tuple(choices))
    caption = f"a map of the United States with a red dot at {place.town}"
    return Scene(canvas.image(), (question,), caption, tuple(words))


def _position(latitude: float, longitude: float) -> tuple[float, float]:
    """Pixel coordinates of a place; longitudes are scaled as at 37 degrees north."""
    pitch = (SIDE - 8) / (EAST - WEST)
    x = 4 + (longitude - WEST) * pitch
    y = SIDE / 2 - (latitude - (SOUTH + NORTH) / 2) * pitch / math.cos(math.radians(37))
    return x, y


PLACES = Task("us_places", 1, material, draw)
US_PLACES = dataset(PLACES)
