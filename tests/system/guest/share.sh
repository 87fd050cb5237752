# Uses shared folders in every way that Linux's client has; tests/system/test_share.py made them and looks at them afterwards.
set -e
sh /test/modules.sh
mkdir -p /s /ro /own

join() {
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=131072,$3" "$1" "$2"
}

# What must fail.
refuse() {
    if "$@" 2>/dev/null; then
        echo "not refused: $*"
        exit 1
    fi
}

# The same steps on a file system of the guest's own and on the share give the same tree.
steps() {
    cd "$1"
    mkdir -p a/b/c d
    n=0
    while [ $n -lt 120 ]; do
        echo "line $n" >a/b/file.$n
        n=$((n + 1))
    done
    ln a/b/file.1 a/hard
    ln -s ../a/b a/soft
    ln -s /nowhere/at/all d/dangling
    mv a/b/file.2 d/moved
    mv a/b/file.3 a/b/file.4
    mv a/b/c d/c2
    echo more >>a/hard
    truncate -s 3 a/b/file.5
    truncate -s 70000 a/b/file.6
    dd if=/tmp/data of=a/middle bs=1000 seek=7 count=33 conv=notrunc 2>/dev/null
    dd if=/tmp/data of=a/middle bs=777 seek=3 count=5 conv=notrunc 2>/dev/null
    chmod 640 a/b/file.7
    chmod 1777 d
    chmod 500 d/c2
    touch -d '2001-02-03 04:05:06' a/b/file.8
    rm a/b/file.9
    rmdir d/c2
    mkfifo d/fifo
    cp /bin/busybox d/busybox
    d/busybox sha256sum d/busybox | cut -d' ' -f1 >d/sum
    exec 8<>d/gone
    rm d/gone
    echo still there >&8
    exec 8>&-
    cd /
}

# Names, modes, sizes, links, times of one file, contents.
describe() {
    (cd "$1" && find . ! -name . | sort | while read -r f; do
        stat -c '%n %f %h %u %g' "$f"
        [ -L "$f" ] && readlink "$f"
        [ -f "$f" ] && [ ! -L "$f" ] && stat -c %s "$f" && sha256sum "$f"
        :
    done && stat -c %Y a/b/file.8) | grep -v ' [14]*[0-9a-f]* [0-9]* [0-9]* [0-9]* d$'
}

dd if=/dev/urandom of=/tmp/data bs=64k count=100 2>/dev/null
mkdir -p /tmp/model
steps /tmp/model
describe /tmp/model | sed 's/^\(\S* 4[0-9a-f]*\) [0-9]* /\1 - /' >/tmp/model.txt
for cache in none mmap loose; do
    join s /s "cache=$cache"
    mkdir "/s/$cache"
    steps "/s/$cache"
    describe "/s/$cache" | sed 's/^\(\S* 4[0-9a-f]*\) [0-9]* /\1 - /' >/tmp/share.txt
    diff /tmp/model.txt /tmp/share.txt
    [ "$(sha256sum </s/given)" = "$(cat /s/given.sum)" ]
    cp /tmp/data "/s/$cache/data"
    [ "$(sha256sum <"/s/$cache/data")" = "$(sha256sum </tmp/data)" ]
    umount /s
    join s /s "cache=$cache"
    [ "$(sha256sum <"/s/$cache/data")" = "$(sha256sum </tmp/data)" ]
    sha256sum <"/s/$cache/data" >"/s/$cache/data.sum"
    umount /s
    echo "cache: $cache good"
done

# Links are the guest's to follow: the one that leads to the host's secret leads nowhere here.
join s /s cache=none
refuse cat /s/leak
refuse cat /s/leaks/secret
refuse mknod /s/null c 1 3
[ "$(stat -c %u:%g /s/given)" = 0:0 ]
df /s >/dev/null
umount /s

join ro /ro cache=loose
cat /ro/kept >/dev/null
refuse rm /ro/kept
refuse touch /ro/new
refuse mkdir /ro/new
refuse chmod 600 /ro/kept
refuse sh -c 'echo x >>/ro/kept'
umount /ro
echo "readonly: good"

# Owners and kinds as only root could make them, in attributes.
join own /own cache=none
if echo x >/own/file 2>/dev/null; then
    chown 12:34 /own/file
    chmod 4755 /own/file
    mknod /own/null c 1 3
    ln -s to/where /own/link
    echo nothing >/own/null
    umount /own
    join own /own cache=loose
    [ "$(stat -c '%u:%g %a' /own/file)" = '12:34 4755' ]
    [ "$(stat -c '%F %t:%T' /own/null)" = 'character special file 1:3' ]
    [ "$(readlink /own/link)" = to/where ]
    echo "mapped: good"
else
    echo "mapped: not there"
fi
umount /own

# A name that nobody shares.
refuse join nobody /s cache=none

# The driver goes and another one comes.
for device in /sys/bus/virtio/drivers/9pnet_virtio/virtio*; do
    name=${device##*/}
    echo "$name" >/sys/bus/virtio/drivers/9pnet_virtio/unbind
    echo "$name" >/sys/bus/virtio/drivers/9pnet_virtio/bind
done
join s /s cache=none
[ "$(sha256sum </s/given)" = "$(cat /s/given.sum)" ]

# Several at once, in one folder.
mkdir /s/many
worker() {
    n=0
    while [ $n -lt 100 ]; do
        echo "$1 $n" >/s/many/$1.$n
        mv /s/many/$1.$n /s/many/$1.$n.done
        cat /s/many/$1.$n.done >/dev/null
        n=$((n + 1))
    done
}
worker a &
worker b &
worker c &
wait
[ "$(find /s/many -name '*.done' | wc -l)" = 300 ]
umount /s
echo "share: good"
dmesg -r | sed -n 's,^<[0-4]>,warning: ,p'
