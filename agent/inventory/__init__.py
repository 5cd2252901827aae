"""The software inventory in a process of its own: lists what is installed, compares it with the baseline, ends.

In the resident agent a first look left 5 MiB behind for good. ``parent`` starts the child and reads what it says,
``look`` is its work, ``job`` what the two say to each other.
"""
