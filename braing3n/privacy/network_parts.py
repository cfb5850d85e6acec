"""What engines that take many subjects at once see in a network: layers, and tokens outside of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from braing3n.errors import ConfigError
from braing3n.privacy.layer_rules import RULES, Rule


@dataclass(frozen=True)
class Layer:
    """A layer with trainable parameters, and how to get their gradients.

    Attributes:
        name: In the network.
        module: The layer.
        rule: That of its type.
        keys: Its trainable parameters.
    """

    name: str
    module: nn.Module
    rule: Rule
    keys: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all of its parameters are trained."""
        return len(self.keys) == sum(1 for _ in self.module.parameters(recurse=False))

    def parameter(self, key: str) -> str:
        """Return a parameter's name in the network."""
        return f"{self.name}.{key}" if self.name else key


@dataclass(frozen=True)
class Place:
    """Where a parameter outside of all layers is, such as the vector of a CLS token.

    Attributes:
        module: Whose own it is.
        key: Its name there.
        is_vector: Whether it has one dimension. It may then stand for rows only where every tensor
            has rows and one more dimension; another one between them would be taken for rows.
    """

    module: nn.Module
    key: str
    is_vector: bool


def find_parts(network: nn.Module) -> tuple[list[Layer], dict[str, Place]]:
    """Return the layers and, by name, the places of a network's trainable parameters.

    Raises:
        ConfigError: There is no rule for a module or its settings, two modules share a parameter, or
            one outside of layers has a shape that need not be the same for every row.
    """
    layers: list[Layer] = []
    places: dict[str, Place] = {}
    owners: dict[int, str] = {}
    for name, module in network.named_modules():
        trained = {key: parameter for key, parameter in module.named_parameters(recurse=False)
                   if parameter.requires_grad}
        for key, parameter in trained.items():
            owner = owners.setdefault(id(parameter), name)
            if owner != name:
                raise refused(name, f"a {key} of its own", f"that of {owner}")
        rule = RULES.get(type(module))
        if rule is None:
            places |= {f"{name}.{key}" if name else key: _place(name, module, key, parameter)
                       for key, parameter in trained.items()}
        elif trained:
            if not rule.is_covered(module):
                raise refused(name, "a layer with settings that there is a rule for", str(module))
            layers.append(Layer(name, module, rule, tuple(trained)))
    return layers, places


@contextmanager
def one_a_row(places: Mapping[str, Place], rows: int) -> Iterator[dict[str, Tensor]]:
    """Put into each place a tensor with the parameter once for each row, and give these by name.

    A parameter (1, ...) becomes (B, ...), and (W,) becomes (B, W): what broadcasts over the rows of a
    batch computes the same then, and each row's gradient comes by itself.
    """
    kept = {name: place.module._parameters[place.key] for name, place in places.items()}
    copies: dict[str, Tensor] = {}
    try:
        for name, place in places.items():
            values = kept[name]
            if values is None:  # not trained, and not found by `find_parts`
                continue
            shape = values.shape if place.is_vector else values.shape[1:]
            copies[name] = values.detach().expand(rows, *shape).clone().requires_grad_()
            # Under its own key, so that parameters keep their order.
            place.module._parameters[place.key] = copies[name]  # type: ignore[assignment]
        yield copies
    finally:
        for name, place in places.items():
            place.module._parameters[place.key] = kept[name]


@contextmanager
def frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Let parameters not require gradients, for a while."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_()


def refused(name: str, expected: str, found: str) -> ConfigError:
    """Return the error that an engine has no way to a part's gradients by subject."""
    return ConfigError(f"this engine cannot train {name} with differential privacy",
                       expected=expected, found=found, fix="name the engine `loop` in `budget:`")


def _place(name: str, module: nn.Module, key: str, parameter: nn.Parameter) -> Place:
    of_torch = type(module).__module__.startswith("torch.") or isinstance(module, tuple(RULES))
    has_one_row = parameter.ndim > 1 and parameter.shape[0] == 1
    is_vector = parameter.ndim == 1 and len(parameter) > 1
    if of_torch or not (has_one_row or is_vector):
        known = ", ".join(layer.__name__ for layer in RULES)
        raise refused(name or type(module).__name__, f"one of {known}, or a parameter with one row",
                      f"{key} {tuple(parameter.shape)} in a {type(module).__name__}")
    return Place(module, key, is_vector)
