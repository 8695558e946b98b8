"""Which errors a person can mend, and what to say of any."""

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What a person can mend by giving something else; the message says what."""
SAYING_ENOUGH = (*BAD_INPUT, OSError, MemoryError, ImportError)
"""Errors whose message alone is a sentence for a person."""


def sentence(error: BaseException) -> str:
    """What a person is told of an error: its message, with its kind where that alone would say too little."""
    if isinstance(error, MemoryError) and not str(error):
        return "There is not enough memory: close other programs, or use a machine with more."
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    if isinstance(error, SAYING_ENOUGH) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
