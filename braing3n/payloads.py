"""In which types updates travel."""

from collections.abc import Mapping
from typing import Literal

PayloadType = Literal["float32", "bfloat16", "float16"]
BYTES: Mapping[PayloadType, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
