"""How far one patient, the worst that the auditor can think of, moves a step's sum."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from braing3n.audit.empirical.exact import Inputs, exact_sum, flat
from braing3n.audit.empirical.result import Diagnostic
from braing3n.budget import EngineName
from braing3n.privacy.dpsgd import clipped_sum
from braing3n.privacy_plan import StagePrivacy
from braing3n.training import Objective

_ROUNDING = 1e-4  # of C; engines' sums are in float32
_LOUD = 1e4


def one_patients_reach(
    objective: Objective, patients: Sequence[Inputs], privacy: StagePrivacy, engine: EngineName,
    microbatch: int,
) -> Diagnostic:
    """Compute what each patient adds to a clipped sum, alone and among the others: C at most, not 0.

    Each comes as it is, ten thousand times as bright, and with voxels that are not finite. No chance is
    in it, so it has no p-value.

    Args:
        objective: The stage's, with the weights as they are.
        patients: Inputs of patients.
        privacy: C and the bound on losses.
        engine: The one that is audited.
        microbatch: Patients at once.
    """
    every = [variant for inputs in patients for variant in _variants(inputs)]

    def total(subjects: Sequence[Inputs]) -> Tensor:
        found = clipped_sum(objective.network, objective.losses, subjects, privacy=privacy,
                            engine=engine, microbatch=microbatch)
        return torch.cat([flat(objective.network, found.sums).double(), torch.tensor([found.loss])])

    alone = [float(total([inputs]).norm()) for inputs in every]
    whole = total(every)
    without = [float((whole - total(every[:place] + every[place + 1 :])).norm())
               for place in range(0, len(every), 3)]
    largest = max(_finite(norm) for norm in (*alone, *without)) / privacy.clip_norm
    # Who moves nothing has a loss that is not finite: then there was nothing to see.
    if not all(float(total([inputs]).norm()) > 0 for inputs in patients):
        largest = 0.0
    return Diagnostic(largest, 1.0, None, 0 < largest <= 1 + _ROUNDING, "most that a patient moves "
                      "a sum, over the clip norm (1 or less; 0 if somebody moves nothing)")


def sum_error(
    objective: Objective, patients: Sequence[Inputs], privacy: StagePrivacy, engine: EngineName,
    microbatch: int,
) -> Diagnostic:
    """Compare the engine's clipped sum with the auditor's; arguments as of `one_patients_reach`."""
    found = clipped_sum(objective.network, objective.losses, patients, privacy=privacy, engine=engine,
                        microbatch=microbatch)
    exact, loss, _ = exact_sum(objective, patients, privacy)
    error = math.hypot(float((flat(objective.network, found.sums) - exact).double().norm()),
                       found.loss - loss) / privacy.clip_norm
    return Diagnostic(_finite(error), 0.0, None, error <= 1e-3 * len(patients),
                      "error of the engine's sum of clipped gradients, over the clip norm")


def _variants(inputs: Inputs) -> list[Inputs]:
    """Return inputs as they are, loud, and broken in one number; whole numbers stay as they are."""
    first, *rest = inputs
    if not first.is_floating_point():
        return [inputs]
    broken = first.clone(memory_format=torch.contiguous_format)
    broken.view(-1)[0] = math.nan
    return [inputs, (first * _LOUD, *rest), (broken, *rest)]


def _finite(norm: float) -> float:
    return norm if math.isfinite(norm) else math.inf
