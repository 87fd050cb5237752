# Uses the network behind the host's addresses; tests/system/test_network.py has the servers and reads what is said.
set -e
# shellcheck disable=SC2013 # words, not lines
for word in $(cat /proc/cmdline); do
    case $word in
    net.port=*) port=${word#*=} ;; # gives the file
    net.back=*) back=${word#*=} ;; # takes it, and says its sum
    net.sum=*) sum=${word#*=} ;;
    esac
done
sh /test/modules.sh
ip link set lo up
echo "mac: $(cat /sys/class/net/eth0/address)"
echo "features: $(cat /sys/class/net/eth0/device/features)"

lease() {
    ip link set eth0 up
    udhcpc -i eth0 -n -q -f -t 10 -s /test/lease.sh 2>/dev/null
}

transfer() {
    [ "$(wget -q -O - "http://10.0.2.2:$port/file" | tee /tmp/file | sha256sum)" = "$sum  -" ]
    [ "$(nc 10.0.2.2 "$back" </tmp/file)" = "$sum" ]
}

lease
ping -c 3 10.0.2.2 >/dev/null
# shellcheck disable=SC2034 # a counter
for n in 1 2 3 4 5 6 7 8; do
    ping -6 -c 1 fec0::2 >/dev/null && break
    sleep 1
done
ping -6 -c 3 fec0::2 >/dev/null
echo "ping: good"
transfer
echo "transfer: good"

# The host comes in.
mkdir -p /srv
cp /tmp/file /srv/file
httpd -p 80 -h /srv
echo "httpd: runs"
nc -l -p 81 </dev/null >/tmp/word
echo "word: $(cat /tmp/word)"

# Small frames only, and cards that are asked for things.
ip link set eth0 mtu 576
transfer
ip link set eth0 mtu 1500
ip link set eth0 promisc on
ip link set eth0 promisc off
ip link set eth0 down
ip link set eth0 address 02:00:00:00:00:07
ip addr flush dev eth0
lease
transfer
echo "changes: good"

# The driver goes and another one comes.
rmmod virtio_net
insmod /modules/virtio_net.ko
lease
transfer
echo "driver: good"
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
