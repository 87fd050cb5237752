# Shows what the kernel made of the machine; tests/system/boot_linux.py reads it.
echo "processors: $(nproc)"
echo "memory: $(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo) KiB"
echo "clocksource: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
cat /proc/interrupts
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
