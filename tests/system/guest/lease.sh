#!/bin/sh
# What udhcpc calls with a lease.
if [ "$1" = bound ]; then
    # shellcheck disable=SC2154 # in the environment
    ip addr add "$ip/$mask" dev "$interface" && ip route add default via "$router" && echo "lease: $ip $router $dns"
fi
