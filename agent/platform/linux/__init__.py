"""Linux: nftables, netlink, fanotify, sysfs, procfs."""
