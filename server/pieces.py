"""What the coordinator's part of a run changes in Flower: it asks sooner for what is on its way."""

from flwr.supercore.inflatable.inflatable_utils import pull_objects

from braing3n.service.pieces import ask_sooner


def fetch_soon() -> None:
    """Have this process ask soon again for a part of a reply that has not arrived yet."""
    ask_sooner(pull_objects)
