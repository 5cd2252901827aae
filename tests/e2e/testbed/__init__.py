"""A small city hall out of namespaces: PCs in three zones, collector, gateway, switch, outside, a rogue PC.

Every machine has its own network, mount, process and host name namespace over an overlay of this machine's root, so it
has its own packages, homes, files and processes; what it changes vanishes with it. The *installed* commands run there.
"""
