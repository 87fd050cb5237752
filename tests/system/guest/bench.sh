# Work of a fixed size, one row each; bench/bench.py takes the time when the lines arrive.
row() {
    echo "BENCH $1 BEGINS"
    sh -c "$2" >/dev/null
    echo "BENCH $1 ENDS"
}
row sha256 'dd if=/dev/zero bs=64k count=128 2>/dev/null | sha256sum'
row gzip 'dd if=/bin/busybox bs=64k count=16 2>/dev/null | gzip -6'
row awk 'awk "BEGIN { for (i = 0; i < 300000; i++) s += i % 7; print s }"'
row shell 'i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done'
row fork 'i=0; while [ $i -lt 100 ]; do /bin/busybox true; i=$((i + 1)); done'
row files 'i=0; while [ $i -lt 300 ]; do echo $i >/tmp/$i; cat /tmp/$i; rm /tmp/$i; i=$((i + 1)); done'
