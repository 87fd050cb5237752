#!/bin/sh
# run_guest.sh RING3 SECONDS RING3-RUN-OPTIONS...: passes if the guest says PASS on its serial line and leaves by the debug exit with
# status 1 (value 0). Prints what the guest printed when it does not.
ring3=$1
seconds=$2
shift 2
out=$(timeout "$seconds" "$ring3" run --debug-exit --serial stdio --no-reboot "$@" </dev/null 2>&1)
status=$?
if [ $status -eq 1 ] && printf '%s\n' "$out" | grep -q 'PASS'; then
    exit 0
fi
printf '%s\n' "$out"
echo "exit status $status (124: no end within $seconds s)"
exit 1
