"""A site's features by one frozen encoder, embedded once and kept beside its other cached arrays."""

import json
from collections.abc import Callable

import numpy as np

from braing3n.data.cache import ArrayCache
from braing3n.evaluation.encoders import VolumeEncoder
from braing3n.evaluation.fits.moments import Floats
from braing3n.evaluation.roster import Progress, Roster

# One record, of the encoder that was asked for last: no limit of the cache removes records.
_RECORD = "probe-features"


def kept_features(cache: ArrayCache, roster: Roster, encoder_digest: str,
                  open_encoder: Callable[[], VolumeEncoder], progress: Progress | None = None,
                  ) -> Floats:
    """Return (n, d) features of all rows of a site; a message that finds them kept embeds nothing.

    Args:
        cache: The site's, in whose envelope they are kept.
        roster: The site's volumes.
        encoder_digest: Names the encoder.
        open_encoder: Gives it, where volumes have to be embedded.
        progress: Called with (volumes done, all) while they are.

    Raises:
        ScanError: A volume has to be made again, and its scan has changed or is gone.
        DivergedError: Features are not finite.
        OutputError: They cannot be kept.
    """
    names = {"encoder": encoder_digest, "keys": [row.example.key for row in roster.rows]}
    header, _, body = (cache.load_record(_RECORD) or b"{}\n").partition(b"\n")
    if json.loads(header) == names:
        kept: Floats = np.frombuffer(body, np.dtype("<f4")).reshape(
            len(roster.rows), -1).astype(np.float64)
        return kept
    features = roster.features(open_encoder(), progress)
    cache.store_record(_RECORD, json.dumps(names).encode() + b"\n"
                       + features.astype(np.dtype("<f4")).tobytes())
    return features
