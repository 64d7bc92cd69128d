"""Pages of docs/ that follow from tables of the server: settings, commands, routes, metrics.

``python -m server.cli.pages`` writes them, ``--check`` says which ones are not up to date; a test
does the same.
"""
