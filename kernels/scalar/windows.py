"""What pooling does with the elements of a window."""

from .language import scalar


@scalar
def replaces(x, largest):
    """Whether x takes the place of the largest element before it: the first of equal ones stays, and NaN wins."""
    return x > largest or x != x


@scalar
def share(total, count):
    """total / count, in the type of the total."""
    return total / count
