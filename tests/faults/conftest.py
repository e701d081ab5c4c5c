"""What the tests of failures may use: an environment of their own, and the command line."""

from commandline import clean_environment, command

__all__ = ["clean_environment", "command"]
