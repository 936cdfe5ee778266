"""`python -m rllib_seq`: the command line where the package is not installed, as in a cluster's job."""

from rllib_seq.cli import main

main()
