"""Every argument and option of every command says what it is."""

from importlib.metadata import entry_points

import pytest
import typer
from click import Command, Group
from typer.main import get_command

from braing3n.cli import app


def _commands() -> dict[str, Command]:
    every = typer.Typer()
    every.add_typer(app, name="braing3n")
    for group in entry_points(group="braing3n.commands"):
        every.add_typer(group.load(), name=group.name)
    return _below(get_command(every), "")


def _below(command: Command, name: str) -> dict[str, Command]:
    inside = command.commands if isinstance(command, Group) else {}
    return {name: command} | {path: one for part, below in inside.items()
                              for path, one in _below(below, f"{name} {part}".strip()).items()}


COMMANDS = _commands()


def test_all_commands_are_looked_at() -> None:
    assert {"braing3n probe", "sim run", "sim cohorts show", "site check"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name])
def test_everything_that_a_command_takes_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    silent = [one.name for one in command.params if len((getattr(one, "help", "") or "").split()) < 3]
    assert silent == []
