"""What costs privacy: one event for each piece of work whose result leaves a site."""

from typing import Annotated, Literal

from pydantic import Field

from braing3n.plan import StageName
from braing3n.yaml_files import StrictModel

# `poisson_gaussian`: each step draws every subject with `sample_rate` on its own, sums what the drawn
# ones give after clipping, and adds Gaussian noise. `gaussian`: the same with everybody, once.
MechanismName = Literal["poisson_gaussian", "gaussian"]


class Event(StrictModel):
    """One piece of work, as accountants need it.

    Neighbouring data sets differ by one subject with all of its volumes and visits, added or removed.

    Attributes:
        mechanism: How it was noised.
        sample_rate: Probability q in (0, 1] that a subject is drawn in a step; 1 for `gaussian`.
        noise_multiplier: σ: standard deviation of the noise over what one subject can change.
        steps: How often it was done.
        unit: What one of is protected.
        stage: The stage that it was for.
        round_index: The round, from 0.
        run: The run's id.
    """

    mechanism: MechanismName
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)]
    unit: Literal["subject"] = "subject"
    stage: StageName
    round_index: Annotated[int, Field(ge=0)]
    run: str
