"""The command line: arguments come in, files and lines go out."""
