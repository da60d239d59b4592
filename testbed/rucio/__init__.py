"""What runs inside the lake's own environment (.venv-lake): plug-ins of Rucio 41.5 and its daemons.

Rucio reads its configuration when it is imported, so only processes of a lake import this package.
"""
