"""The program `cerebellar-norse`: `main` reads the command line, and a module runs each command."""
