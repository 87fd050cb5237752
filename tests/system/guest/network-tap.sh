# On a tap device, with the host at 192.168.78.1; servers and words as in network.sh.
set -e
# shellcheck disable=SC2013 # words, not lines
for word in $(cat /proc/cmdline); do
    case $word in
    net.port=*) port=${word#*=} ;;
    net.back=*) back=${word#*=} ;;
    net.sum=*) sum=${word#*=} ;;
    esac
done
sh /test/modules.sh
ip link set lo up
ip link set eth0 up
ip addr add 192.168.78.2/24 dev eth0
ping -c 3 192.168.78.1 >/dev/null
[ "$(wget -q -O - "http://192.168.78.1:$port/file" | tee /tmp/file | sha256sum)" = "$sum  -" ]
[ "$(nc 192.168.78.1 "$back" </tmp/file)" = "$sum" ]
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
