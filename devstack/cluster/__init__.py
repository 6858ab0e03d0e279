"""Servers as clusters, and Penstock on them: what `python -m devstack.cluster` runs.

One class for each kind of server: `rabbit_cluster`, `replica_set`. `rig` puts them together with
gateways and workers; `partitions` takes a node away from the others.
"""
