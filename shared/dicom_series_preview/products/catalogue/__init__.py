"""The catalogue: a search comes in; a page of rows, with identifiers as the door shows them, goes out."""
