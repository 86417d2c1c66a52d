"""What stops a start."""


class StartError(Exception):
    """The daemon cannot start as asked; the text is one line that says what is wrong and what to do. Exit status 2."""
