"""The program `cerebellar-norse`: `main` reads the command line, one module a command runs it."""
