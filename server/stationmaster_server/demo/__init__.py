"""The demonstration: a real client, the real server, a real model on real data, and the whole conversation in print."""
