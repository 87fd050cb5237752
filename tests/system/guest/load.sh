# All processors busy for ring3.seconds: compression, forks, signals, pipes, and compilers that rewrite their code (if
# /load has them). Every round's results must be the same as the first round's, or as the host's.
set -e
cat /proc/cmdline >/tmp/cmdline
seconds=$(sed -n 's/.*ring3\.seconds=\([0-9]*\).*/\1/p' /tmp/cmdline)
now() {
    cut -d. -f1 /proc/uptime
}
end=$(($(now) + ${seconds:-20}))
mkdir /tmp/load
cd /tmp/load
seq 1 60000 >data
sum=$(sha256sum <data)

fail() {
    echo "load: $*"
    : >failed
    exit 1
}

compress() {
    [ "$(gzip -1 -c data | gunzip -c | sha256sum)" = "$sum" ] || fail gzip
    [ "$(head -c 100000 data | bzip2 -c | bunzip2 -c | sha256sum)" = "$(head -c 100000 data | sha256sum)" ] || fail bzip2
    [ "$(sort -n data | tail -n 1)" = 60000 ] || fail sort
    [ "$(awk '{ s += $1 } END { print s }' data)" = 1800030000 ] || fail awk
}

forks() {
    i=0
    while [ $i -lt 60 ]; do
        i=$((i + 1))
        [ "$(echo $i | cat | cat)" = $i ] || fail pipe
        (exit $((i % 7))) && status=0 || status=$?
        [ $status = $((i % 7)) ] || fail status
    done
    i=0
    while [ $i -lt 20 ]; do
        sh -c 'exit 0' &
        i=$((i + 1))
    done
    wait
}

# A shell that counts the signals it gets, until it is told to stop.
signals() {
    sh -c 'n=0; stop=; trap "n=\$((n + 1))" USR1; trap "stop=1" USR2; : >ready.'"$1"'
        while [ -z "$stop" ]; do :; done; [ $n -gt 0 ] && echo $n' >got."$1" &
    child=$!
    while [ ! -e ready."$1" ]; do usleep 1000; done
    i=0
    while [ $i -lt 100 ]; do
        kill -USR1 $child
        i=$((i + 1))
    done
    usleep 20000
    kill -USR2 $child
    wait $child || fail signals
    rm ready."$1"
}

compilers() {
    for name in lua js; do
        [ -e /load/jit.$name ] || continue
        [ "$(/load/run-$name)" = "$(cat /load/expected-$name)" ] || fail "jit.$name"
    done
}

worker() {
    rounds=0
    while [ "$(now)" -lt "$end" ] && [ ! -e failed ]; do
        "$1" "$2"
        rounds=$((rounds + 1))
    done
    echo "load: $1, worker $2: $rounds rounds"
    : >done."$1"."$2"
}

n=0
while [ $n -lt "$(nproc)" ]; do
    for kind in compress forks signals compilers; do
        worker $kind $n &
    done
    n=$((n + 1))
done
wait
[ ! -e failed ]
# shellcheck disable=SC2012 # names of our own
[ "$(ls done.* | wc -l)" = $((4 * $(nproc))) ]
[ "$(sha256sum <data)" = "$sum" ]
