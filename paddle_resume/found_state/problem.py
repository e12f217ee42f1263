"""What is wrong with one thing that was found."""


class Problem(Exception):
    """Whoever knows the thing's path turns it into an error."""
