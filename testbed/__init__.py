"""Real services on one machine, brought up and down with one command: a Rucio data lake."""
