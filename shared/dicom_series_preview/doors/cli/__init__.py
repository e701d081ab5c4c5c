"""The command line: arguments come in; files and lines of text go out."""
