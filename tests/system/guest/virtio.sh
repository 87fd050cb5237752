# Uses every virtio device, and says what became of it; tests/system/test_virtio.py reads it, made the file system, and
# checks it afterwards.
set -e
sh /test/modules.sh
mkdir -p /disk

# Random numbers: two pieces that are not the same.
[ "$(cat /sys/class/misc/hw_random/rng_current)" = virtio_rng.0 ]
dd if=/dev/hwrng of=/tmp/a bs=512 count=2 2>/dev/null
dd if=/dev/hwrng of=/tmp/b bs=512 count=2 2>/dev/null
[ "$(wc -c </tmp/a)" = 1024 ]
if cmp -s /tmp/a /tmp/b; then
    exit 1
fi
echo "rng: good"

# The disk, twice, so that what is read was written.
echo "serial: $(cat /sys/block/vda/serial)"
echo "queues: $(find /sys/block/vda/mq -mindepth 1 -maxdepth 1 | wc -l)"
echo "features: $(cat /sys/block/vda/device/features)"
mount -t ext4 /dev/vda /disk
[ "$(sha256sum </disk/given)" = "$(cat /disk/given.sum)" ]
dd if=/dev/urandom of=/tmp/data bs=64k count=100 2>/dev/null
sum=$(sha256sum </tmp/data)
n=0
while [ $n -lt 4 ]; do
    { cat /tmp/data >/disk/copy.$n && sync; } &
    n=$((n + 1))
done
wait
mkdir /disk/many
n=0
while [ $n -lt 200 ]; do
    echo $n >/disk/many/$n
    n=$((n + 1))
done
echo "write through" >/sys/block/vda/cache_type
dd if=/tmp/data of=/disk/through bs=64k conv=fsync 2>/dev/null
[ "$(cat /sys/block/vda/cache_type)" = "write through" ]
echo "write back" >/sys/block/vda/cache_type
rm /disk/copy.3
fstrim /disk
umount /disk
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/vda /disk
for name in copy.0 copy.1 copy.2 through; do
    [ "$(sha256sum </disk/$name)" = "$sum" ]
done
[ "$(cat /disk/many/* | wc -l)" = 200 ]
# Programs that come into memory by DMA, where others were a moment ago.
cp /bin/busybox /disk/busybox.1
head -c 4000000 /dev/urandom >/disk/filler
n=0
while [ $n -lt 4 ]; do
    echo 3 >/proc/sys/vm/drop_caches
    [ "$(/disk/busybox.1 sha256sum </tmp/data)" = "$sum" ]
    mv /disk/busybox.1 /disk/busybox.2
    cp /disk/busybox.2 /disk/busybox.1
    rm /disk/busybox.2
    cat /disk/filler >/dev/null
    n=$((n + 1))
done
umount /disk
# The driver goes and another one comes: reset and renegotiation.
rmmod virtio_blk
insmod /modules/virtio_blk.ko
mount -t ext4 /dev/vda /disk
[ "$(sha256sum </disk/through)" = "$sum" ]
umount /disk
# Read-only: the kernel refuses.
if dd if=/tmp/data of=/dev/vdb bs=512 count=1 2>/dev/null; then
    exit 1
fi
echo "vdb: $(dd if=/dev/vdb bs=512 count=1 2>/dev/null)"
echo "disk: good"

# The console: a line each way. It stays open, as what comes while nobody has it open is lost.
exec 3<>/dev/hvc0
stty -echo <&3
echo "hvc0: type a line" >&3
read -r line <&3
echo "hvc0: got <$line>" >&3

# The balloon: 200 MiB are used and freed again. The host looks at each, and says when it has.
mkdir -p /fill
mount -t tmpfs -o size=300M fill /fill
dd if=/dev/zero of=/fill/data bs=1M count=200 2>/dev/null
echo "balloon: filled"
read -r _ <&3
umount /fill
echo "balloon: freed"
read -r _ <&3
exec 3>&-
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
