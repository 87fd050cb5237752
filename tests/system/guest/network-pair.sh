# One of two machines on a switch, by net.me=1 or 2 on the kernel's command line: they ping each other, and a file goes
# from the first to the second and back.
set -e
me=1
grep -q net.me=2 /proc/cmdline && me=2
other=192.168.77.$((3 - me))
sh /test/modules.sh
ip link set lo up
ip link set eth0 up
ip addr add 192.168.77.$me/24 dev eth0
n=0
until ping -c 1 -W 1 $other >/dev/null; do
    n=$((n + 1))
    [ $n -lt 120 ]
done
ping -c 5 $other >/dev/null
echo "ping: good"
if [ $me = 1 ]; then
    dd if=/dev/urandom of=/tmp/file bs=64k count=128 2>/dev/null
    nc -l -p 9 -e /bin/cat /tmp/file
    nc -l -p 10 -e /bin/sh -c 'cat >/tmp/back; echo taken'
    cmp /tmp/file /tmp/back
    [ "$(wc -c </tmp/back)" = 8388608 ]
    echo "file: good"
else
    until nc $other 9 </dev/null >/tmp/file && [ -s /tmp/file ]; do
        sleep 1
    done
    until [ "$(nc $other 10 </tmp/file)" = taken ]; do
        sleep 1
    done
fi
sleep 2 # so that the last packet gets out
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
