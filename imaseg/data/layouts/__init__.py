"""One file per folder layout, each of which turns a folder into a `CaseSet`."""
