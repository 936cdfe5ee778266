"""`python -m rllib_seq`: the command line where nothing is installed, as in a cluster job."""

from rllib_seq.cli import main

main()
