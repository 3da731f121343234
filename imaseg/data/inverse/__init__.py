"""From prepared space back to the grid and the units of the files a case came from."""
