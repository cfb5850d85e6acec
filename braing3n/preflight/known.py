"""What a site's tables say of its subjects, in numbers: to see at a glance what was understood."""

from collections import Counter

from braing3n.config import DataConfig
from braing3n.data.cohort import open_cohort
from braing3n.data.volumes import Volume
from braing3n.errors import BrainG3NError

_NAMES = {"age_years": "age", "sex": "sex", "diagnosis": "diagnosis", "severity": "severity"}


def what_is_known(data: DataConfig) -> tuple[str, ...]:
    """Return one sentence on scans, and one on what is known of the subjects.

    Nothing where no cohort can be made of the data; the findings say why.
    """
    try:
        volumes = open_cohort(data).volumes
    except BrainG3NError:
        return ()
    subjects: dict[str, list[Volume]] = {}
    for volume in volumes:
        subjects.setdefault(volume.subject, []).append(volume)
    visits = len({(volume.subject, volume.session) for volume in volumes})
    modalities = Counter(volume.modality for volume in volumes)
    parts = [f"{name} of {_known(subjects, field)}" for field, name in _NAMES.items()]
    return (f"cohort: {len(subjects)} subjects, {visits} visits, "
            + ", ".join(f"{count} {name}" for name, count in modalities.most_common()),
            f"known of {len(subjects)} subjects: {', '.join(parts)}")


def _known(subjects: dict[str, list[Volume]], field: str) -> str:
    values = [next((value for volume in volumes
                    if (value := getattr(volume.conditions, field)) is not None), None)
              for volumes in subjects.values()]
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, str) for value in known):
        counts = ", ".join(f"{value} {count}" for value, count in Counter(known).most_common())
        return f"{len(known)} ({counts})"
    return str(len(known))
