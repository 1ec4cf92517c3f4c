"""The parts of `benchmarks/soak.py`: projects, a client whose server may be killed, readers, lanes, and the account."""
