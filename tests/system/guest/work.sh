# A little of everything that a shell script does to a kernel, with the right answers known.
set -e
mkdir /tmp/work
i=0
while [ $i -lt 50 ]; do
    echo "line $i" >>/tmp/work/file
    i=$((i + 1))
done
[ "$(wc -l </tmp/work/file)" = 50 ]
[ "$(sha256sum </tmp/work/file)" = "$(sort -s /tmp/work/file -k2n | sha256sum)" ]
gzip -9 </tmp/work/file | gunzip | cmp - /tmp/work/file
[ "$(seq 1 1000 | awk '{ s += $1 * 0.5 } END { print s }')" = 250250 ]
(sleep 1 && echo child >/tmp/work/child) &
wait
[ "$(cat /tmp/work/child)" = child ]
