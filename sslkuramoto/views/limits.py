"""What the options of a policy may be: each check returns its value or raises one line naming key, value and limits."""

from math import inf

from sslkuramoto.errors import UserError

SMALLEST_IMAGE = 4


def probability(key: str, value: float) -> float:
    """Return ``value`` when it lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise UserError(f"{key}={value}: a probability must lie in [0, 1]")
    return value


def strength(key: str, value: float, upper: float = inf) -> float:
    """Return ``value`` when it is finite, not negative and at most ``upper``."""
    if not (0.0 <= value <= upper and value < inf):
        limit = "be finite and at least 0" if upper == inf else f"lie in [0, {upper}]"
        raise UserError(f"{key}={value}: must {limit}")
    return value


def positive(key: str, value: float) -> float:
    """Return ``value`` when it is finite and above 0."""
    if not 0.0 < value < inf:
        raise UserError(f"{key}={value}: must be finite and above 0")
    return value


def interval(key: str, value: tuple[float, float], upper: float = inf) -> tuple[float, float]:
    """Return ``value`` when it is (low, high) with 0 < low <= high <= ``upper``, both finite."""
    low, high = value
    if not (0.0 < low <= high <= upper and high < inf):
        limit = "" if upper == inf else f" <= {upper}"
        raise UserError(f"{key}=({low}, {high}): must be (low, high) with 0 < low <= high{limit}")
    return value


def whole(key: str, value: int, lower: int, upper: int | None = None) -> int:
    """Return ``value`` when it lies in lower..upper."""
    if value < lower or (upper is not None and value > upper):
        limit = f"at least {lower}" if upper is None else f"in {lower}..{upper}"
        raise UserError(f"{key}={value}: must be {limit}")
    return value


def side(image_size: int) -> int:
    """Return ``image_size`` when images of that side are large enough for every step of a policy."""
    return whole("image_size", image_size, SMALLEST_IMAGE)
