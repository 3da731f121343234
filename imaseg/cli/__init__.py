"""The command line: parses arguments, calls the library, prints. Each command imports heavy libraries by itself."""
