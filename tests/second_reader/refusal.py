"""The one error of this reader: a file says something that FORMAT.md does not allow."""


class Refused(Exception):
    """Input that the format does not allow; the message says what and where."""


def require(condition, message):
    """Refuses with `message` unless `condition` holds. (`assert` would vanish under `python -O`.)"""
    if not condition:
        raise Refused(message)
