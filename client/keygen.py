"""A site's own keys: made where they are missing, kept where they are."""

from dataclasses import dataclass

from braing3n.config import SiteConfig
from braing3n.enrolment.node_keys import load_node_key, node_key_text, write_node_key
from braing3n.enrolment.private_files import make_private_folder, write_private
from braing3n.privacy.ledger import FILE_NAME, KEY_NAME, PUBLIC_NAME
from braing3n.privacy.ledger_file import alone, create, is_begun
from braing3n.signing import PublicKey, open_key
from client.network_folder import NetworkFolder
from client.own_ledger import own_history
from client.site import Site
from client.state_folder import open_state_folder


@dataclass(frozen=True)
class Keys:
    """What `make_keys` came to.

    Attributes:
        node_key: The SuperNode's public key, as a line.
        has_new_node_key: Whether it was made now.
        ledger_key: The ledger's public key.
        has_new_ledger_key: Whether it was made now.
    """

    node_key: str
    has_new_node_key: bool
    ledger_key: PublicKey
    has_new_ledger_key: bool


def make_keys(config: SiteConfig, wait_s: float = 10.0) -> Keys:
    """Make a site's keys where they are missing. No ledger is begun.

    Args:
        config: The site's settings.
        wait_s: How long to wait for a client that is at work.

    Raises:
        ConfigError: The state folder or a key there cannot be used.
        LedgerError: The ledger or its key is gone, the ledger is damaged, or in use.
    """
    open_state_folder(config)
    own_history(Site(config))  # a ledger that is damaged or gone is told, and no other key is made
    folder = NetworkFolder.of(config)
    with alone(config.state_dir, wait_s):
        ledger_key, is_new = _ledger_key(config)
        make_private_folder(folder.path)
        has_new_node_key = not folder.node_key.exists()
        if has_new_node_key:
            write_node_key(folder.node_key)
        node_key = node_key_text(load_node_key(folder.node_key).public_key())
        write_private(folder.node_public, (node_key + "\n").encode())
    return Keys(node_key, has_new_node_key, ledger_key, is_new)


def _ledger_key(config: SiteConfig) -> tuple[PublicKey, bool]:
    """Return the ledger's public key, and whether it is new.

    A key without the ledger's file would mean that the ledger was lost: see `is_begun`.
    """
    path, key_path, public = (config.state_dir / name for name in (FILE_NAME, KEY_NAME, PUBLIC_NAME))
    is_new = not key_path.exists()
    if not is_begun(path, key_path, public, None) and not path.exists():
        create(path, b"")
    return open_key(key_path).public, is_new
