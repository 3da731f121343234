"""One file per format, each of which turns a file on disk into a `Scan`."""
