"""In: a command line → Out: files, printed figures, one line for every error.

One module for each command of `videopoet`; `main` finds them by name and imports only the one that is called.
"""
