# Idles, for a measurement of what that costs the host.
echo "idle from $(cut -d' ' -f1 /proc/uptime)"
sleep 20
echo "idle to $(cut -d' ' -f1 /proc/uptime)"
