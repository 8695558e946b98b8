"""Which errors a person can mend."""

BAD_INPUT = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What a person can mend by giving something else; the message says what."""
