"""The words of a generated library: what its pictures show, and how captions describe it."""

from __future__ import annotations

from random import Random

COLOURS = {
    "red": "#c8402f",
    "blue": "#2f6db5",
    "green": "#3d8b4f",
    "yellow": "#e3b23c",
    "black": "#2b2b2e",
    "white": "#f4f1ea",
    "orange": "#df7a2e",
    "brown": "#7d5637",
    "grey": "#8a8f94",
    "pink": "#d98aa0",
}
#: What the pictures of a dataset show, by its name.
THEMES: dict[str, dict[str, list[str]]] = {
    "Spring Catalogue": {
        "things": ["shoe", "jacket", "handbag", "hat", "scarf", "watch", "chair", "lamp"],
        "places": ["in a bright studio", "on a white table", "in front of a pale wall", "on wooden boards"],
        "doing": ["is shown from the side", "lies beside a folded cloth", "stands alone", "is seen from above"],
    },
    "Warehouse Cameras": {
        "things": ["forklift", "pallet", "person", "box", "truck", "cone", "shelf"],
        "places": ["in a wide aisle", "at the loading dock", "near the gate", "under fluorescent light"],
        "doing": ["moves to the left", "waits", "passes slowly", "is parked at the edge"],
    },
    "Field Trip": {
        "things": ["tree", "dog", "person", "tent", "bicycle", "boat", "bird", "car"],
        "places": ["on a meadow", "by a lake", "at the forest's edge", "in front of distant hills"],
        "doing": ["rests in the sun", "is partly hidden", "crosses the picture", "stands in the foreground"],
    },
}
TAGS = {
    "Season": ["spring", "summer", "autumn", "winter"],
    "Product": ["footwear", "outerwear", "accessories", "furniture"],
    "Tags": ["24", "campaign", "draft", "print", "web", "outdoor"],
    "Quality": ["sharp", "close-up", "backlit"],
}
#: The tags of the group Product that fit a thing. Other things have none.
PRODUCTS = {
    "shoe": "footwear",
    "jacket": "outerwear",
    "handbag": "accessories",
    "hat": "accessories",
    "scarf": "accessories",
    "watch": "accessories",
    "chair": "furniture",
    "lamp": "furniture",
    "shelf": "furniture",
}
FOLDERS = ("Originals", "Selected", "Retouched", "Team", "Shared", "Archive")
CAMERAS = (("Canon", "EOS R6"), ("NIKON", "Z 6"), ("Apple", "iPhone 15"), ("FUJIFILM", "X-T5"))
DESCRIPTIONS = (
    "Chosen for the front page.",
    "A {thing} for the web shop.",
    "The {thing} once more; the first picture was blurred.",
    "Agreed with the customer.",
)
PROMPTS = ("Remove the background.", "Make the {thing} brighter.", "Extend the picture to 16:9.", "Add a soft shadow.")
MODELS = ("caption-large-2", "caption-fast-1")


def article(word: str) -> str:
    """The indefinite article of a word."""
    return "an" if word[0] in "aeiou" else "a"


def caption(random: Random, theme: str, seen: list[tuple[str, str]]) -> str:
    """A caption of a picture that shows these pairs of colour and thing."""
    words = THEMES[theme]
    if not seen:
        return f"An empty view {random.choice(words['places'])}."
    colour, thing = seen[0]
    first = f"{article(colour).capitalize()} {colour} {thing} {random.choice(words['doing'])}"
    others = [f"{article(c)} {c} {t}" for c, t in seen[1:]]
    rest = f", together with {' and '.join(others)}" if others else ""
    closing = random.choice((" The light is soft.", " The background is out of focus.", "", ""))
    return f"{first} {random.choice(words['places'])}{rest}.{closing}"
