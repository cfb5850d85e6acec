"""Where the server keeps what it needs, below the coordinator's `state_dir`."""

import json
from dataclasses import dataclass
from pathlib import Path

from braing3n.enrolment.private_files import is_there, make_private_folder, write_private
from braing3n.errors import ConfigError, RunFailedError
from server.consortium import ConsortiumConfig

LOOPBACK = "127.0.0.1"
LOOPBACK_NAME = "localhost"


@dataclass(frozen=True)
class Places:
    """Paths below the state folder; all of them are for their owner alone.

    Attributes:
        state_dir: The coordinator's own folder.
    """

    state_dir: Path

    @classmethod
    def of(cls, config: ConsortiumConfig) -> "Places":
        """Return those of a consortium."""
        return cls(config.state_dir)

    @property
    def superlink(self) -> Path:
        """SuperLink's folder: its working directory, and all that follows."""
        return self.state_dir / "superlink"

    @property
    def database(self) -> Path:
        """SuperLink's state (SQLite); weights that are under way are in it, as they are."""
        return self.superlink / "state.db"

    @property
    def flower_home(self) -> Path:
        """FLWR_HOME of Flower's programs here."""
        return self.superlink / "flwr"

    @property
    def app(self) -> Path:
        """The definition of the Flower app: no code."""
        return self.superlink / "app"

    @property
    def certificate(self) -> Path:
        """The certificate of SuperLink's loopback port."""
        return self.superlink / "loopback.crt"

    @property
    def authority(self) -> Path:
        """What signed it: made with it, and for nothing else."""
        return self.superlink / "loopback-ca.crt"

    @property
    def key(self) -> Path:
        """The key of the loopback port."""
        return self.superlink / "loopback.key"

    @property
    def port_file(self) -> Path:
        """The loopback port of the server that is at work."""
        return self.superlink / "port.json"

    @property
    def nodes(self) -> Path:
        """Which node of Flower's is which site: what the ServerApp holds greetings to."""
        return self.superlink / "nodes.json"

    @property
    def nginx(self) -> Path:
        """Nginx's folder: its configuration, and what it buffers."""
        return self.superlink / "nginx"

    @property
    def runs(self) -> Path:
        """One folder for each run that was ordered."""
        return self.state_dir / "runs"

    @property
    def lock(self) -> str:
        """The name of the lock that a server at work holds."""
        return ".server.lock"

    def make(self) -> None:
        """Make the folders.

        Raises:
            ConfigError: They cannot be made, or others may enter one.
        """
        for folder in (self.superlink, self.flower_home, self.nginx, self.runs):
            make_private_folder(folder)

    def write_port(self, port: int) -> None:
        """Write down where SuperLink listens, also for Flower's command-line program."""
        write_private(self.port_file, json.dumps({"port": port}).encode())
        write_private(self.flower_home / "config.toml", (
            '[superlink]\ndefault = "own"\n\n[superlink.own]\n'
            f'address = "{LOOPBACK}:{port}"\nroot-certificates = "{self.authority}"\n').encode())

    def read_port(self) -> int:
        """Return the loopback port of the server that is at work.

        Raises:
            RunFailedError: None was ever started here.
            ConfigError: The file is damaged.
        """
        if not is_there(self.port_file):
            raise RunFailedError("the server has not been started", found=f"no {self.port_file}",
                                 expected="a server at work", fix="run `braing3n server start`")
        try:
            return int(json.loads(self.port_file.read_text(encoding="utf-8"))["port"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.port_file} is damaged", expected="a port", found="other content",
                              fix="start the server anew") from error
