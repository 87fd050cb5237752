#!/usr/bin/python3
"""Bad arguments and bad files: status 2, one line on standard error that names the argument, nothing left behind."""
import os
import tempfile

from harness import check, finish, ring3

# Arguments, and what the line must contain.
BAD = [
    ([], 'help'),
    (['walk'], 'walk'),
    (['help', 'walk'], 'walk'),
    (['version', 'x'], 'x'),
    (['run', 'stray'], 'stray'),
    (['run', '--nonsense'], '--nonsense'),
    (['run', '-nonsense'], '-nonsense'),
    (['run', '--'], '--'),
    (['run', '-'], '-'),
    (['run', '--memory'], '--memory'),
    (['run', '--memory', '12Q'], '--memory 12Q'),
    (['run', '--memory=12Q'], '--memory 12Q'),
    (['run', '-m', '12Q'], '--memory 12Q'),
    (['run', '--memory', ''], '--memory'),
    (['run', '--memory', '-1'], '--memory -1'),
    (['run', '--memory', '0'], '--memory 0'),
    (['run', '--memory', '3K'], '--memory 3K'),
    (['run', '--memory', '4097K'], '--memory 4097K'),
    (['run', '--memory', '1.5G'], '--memory 1.5G'),
    (['run', '--memory', '1GG'], '--memory 1GG'),
    (['run', '--memory', '99999999999999999999'], '--memory 9999'),
    (['run', '--memory', '17592186044416M'], '--memory 1759'),
    (['run', '--memory', '600G'], '--memory 600G'),
    (['run', '--cpus', '0'], '--cpus 0'),
    (['run', '--cpus', '65'], '--cpus 65'),
    (['run', '--cpus', 'two'], '--cpus two'),
    (['run', '-smp', '4294967297'], '--cpus 4294967297'),
    (['run', '--cpu', 'z80'], '--cpu z80'),
    (['run', '--engine', 'warp'], '--engine warp'),
    (['run', '--engine', 'translate', '--engine-memory', '27M'], '28M'),
    (['run', '--engine', 'translate', '--engine-memory', '75M', '--cpus', '4'], '76M'),
    (['run', '--engine-memory', 'much'], '--engine-memory much'),
    (['run', '--translate-after', '256'], '0 to 255'),
    (['run', '--unpack', 'me'], 'host or guest'),
    (['run', '--translate-after', '2x'], '0 to 255'),
    (['run', '--engine', 'interp', '--engine-memory', '64M'], '--engine-memory'),
    (['run', '--engine', 'interp', '--perf-map'], '--perf-map'),
    (['run', '--check', '--engine', 'interp'], '--check'),
    (['run', '--check', '--engine', 'translate', '--cpus', '2'], '--cpus 1'),
    (['run', '--serial', 'moon'], '--serial moon'),
    (['run', '--serial', 'file='], '--serial file='),
    (['run', '--serial', 'pty=1'], '--serial pty=1'),
    (['run', '--serial', 'file=/nonexistent/x'], '--serial file=/nonexistent/x'),
    (['run', '--serial', 'file=/'], '--serial file=/'),
    (['run', '--debugcon', 'file=/nonexistent/x'], '--debugcon file=/nonexistent/x'),
    (['run', '--no-reboot=1'], '--no-reboot=1'),
    (['run', '--initramfs', '/dev/null'], '--initramfs'),
    (['run', '--cmdline', 'x'], '--cmdline'),
    (['run', '--kernel', ''], '--kernel'),
    (['run', '--kernel', '/nonexistent'], '--kernel /nonexistent'),
    (['run', '--kernel', '/dev/null'], '--kernel /dev/null'),
    (['run', '--kernel', '/'], '--kernel /'),
    (['run', '--kernel', '/bin/sh'], '--kernel /bin/sh'),
    (['run', '--kernel', '/etc/passwd'], '--kernel /etc/passwd'),
    (['run', '--firmware', '/nonexistent'], '--firmware /nonexistent'),
    (['run', '--firmware', '/dev/null'], '--firmware /dev/null'),
    (['run', '--firmware', '/etc/passwd'], '--firmware /etc/passwd'),
    (['run', '--disk', ''], '--disk'),
    (['run', '--disk', '/nonexistent'], '--disk /nonexistent'),
    (['run', '--disk', '/'], '--disk /'),
    (['run', '--disk', '/etc/passwd,packed=maybe'], 'packed=on or packed=off'),
    (['run', '--disk', '/etc/passwd,queues=9'], 'queues=1 to queues=8'),
    (['run', '--disk', '/etc/passwd,serial=123456789012345678901'], 'serial='),
    (['run', '--kernel', '/bin/sh', '--disk', '/etc/passwd,readonly=on', '--disk', '/nonexistent'], '--disk /nonexistent'),
    (['run', '--disk', '/etc/passwd,readonly=on'], 'give --kernel, or --firmware'),
    (['run', '--cloud-init', ''], '--cloud-init'),
    (['run', '--cloud-init', '/nonexistent'], '--cloud-init /nonexistent: /nonexistent: cannot open'),
    (['run', '--cloud-init', '/etc/passwd,password=x'], 'give it or password=, not both'),
    (['run', '--cloud-init', 'ssh-key='], 'ssh-key= needs a value'),
    (['run', '--cloud-init', 'ssh-key=/nonexistent'], '/nonexistent: cannot open'),
    (['run', '--cloud-init', 'ssh-key=/dev/null'], '/dev/null: has no public key in it'),
    (['run', '--cloud-init', 'password=a\tb'], 'no control characters'),
    (['run', '--cloud-init', '/etc/passwd,moon=1'], 'meta-data=, network-config= or vendor-data='),
    (['run', '--console', 'moon'], '--console moon'),
    (['run', '--console', 'stdio'], '--serial null'),
    (['run', *['--console', 'null'] * 8], 'at most 7'),
    (['run', '--net', ''], '--net'),
    (['run', '--net', 'moon'], '--net moon'),
    (['run', '--net', 'nat:x'], 'nat, with its keys'),
    (['run', '--net', 'none:x'], 'none and nothing else'),
    (['run', '--net', 'nat,colour=red'], 'no such key'),
    (['run', '--net', 'switch:/tmp/x,dns=1.2.3.4'], 'not for this kind'),
    (['run', '--net', 'nat,mac=01:00:00:00:00:00'], 'mac=52:54:00'),
    (['run', '--net', 'nat,mac=52:54:00:12:34:5g'], 'mac=52:54:00'),
    (['run', '--net', 'nat,mtu=67'], 'mtu=68'),
    (['run', '--net', 'nat,net=10.0.2.1/24'], 'net=10.0.2.0/24'),
    (['run', '--net', 'nat,net=10.0.2.0/28'], 'net=10.0.2.0/24'),
    (['run', '--net', 'nat,hostfwd=tcp::0-:22'], 'hostfwd=tcp:'),
    (['run', '--net', 'nat,hostfwd=tcp:2222-:22'], 'hostfwd=tcp:'),
    (['run', '--net', 'nat,hostfwd=sctp::2222-:22'], 'hostfwd=tcp:'),
    (['run', '--net', 'nat,hostfwd=tcp::2222-10.1.1.1:22'], 'not in its network'),
    (['run', '--net', 'nat,dns=moon'], 'dns='),
    (['run', '--net', 'nat,restrict=maybe'], 'restrict=on'),
    (['run', '--net', 'tap:'], 'tap:NAME'),
    (['run', '--net', 'tap:longer-than-a-name'], 'tap:NAME'),
    (['run', '--net', 'tap:no-such-tap'], 'ip tuntap add no-such-tap'),
    (['run', '--net', 'tap:lo'], '--net tap:lo'),
    (['run', '--net', 'tap:fd=77'], '--net tap:fd=77'),
    (['run', '--net', 'fd:0'], 'fd:NUMBER'),
    (['run', '--net', 'fd:99'], 'give a descriptor of a socket'),
    (['run', '--net', 'switch:'], 'switch:PATH'),
    (['run', '--net', 'switch:/nonexistent/x'], '--net switch:/nonexistent/x'),
    (['run', '--net', 'switch:/etc/passwd'], 'that of a switch'),
    (['run', *['--net', 'nat'] * 9], 'at most 8'),
    (['run', '--vsock', ''], '--vsock'),
    (['run', '--vsock', '/tmp/x,cid=2'], 'cid=3 to'),
    (['run', '--vsock', '/tmp/x,colour=red'], 'cid=3 to'),
    (['run', '--vsock', '/nonexistent/x'], '--vsock /nonexistent/x'),
    (['run', '--vsock', '/etc/passwd'], 'a path that is free'),
    (['run', '--share', ''], '--share'),
    (['run', '--share', '/nonexistent'], '--share /nonexistent'),
    (['run', '--share', '/etc,security_model=all'], 'none, passthrough or mapped'),
    (['run', '--share', '/etc', '--share', '/etc'], 'give tag=NAME'),
    (['run', '--root', 'host'], 'give --kernel too'),
    (['run', '--', 'true'], 'give --root host too'),
    (['run', '--balloon', 'red'], 'on or off'),
    (['run', '--kernel', '/non\nexistent'], '--kernel /non?existent'),
]


def check_bad(arguments, part):
    status, out, err = ring3(*arguments)
    lines = err.splitlines()
    good = status == 2 and out == '' and len(lines) == 1 and lines[0].startswith('ring3: ') and part in lines[0]
    check(' '.join(arguments).replace('\n', '\\n') or '(nothing)', good, f'status {status}, printed {out!r}, {err!r}')


def check_absent_engines():
    """Engines that ring3 knows of, but that this build does not have."""
    present = ring3('help', 'run')[1].split('Engines in this build', 1)[1].split('\n\n', 1)[0]
    for name in ('translate', 'kvm'):
        if f'\n  {name} ' not in present:
            check_bad(['run', '--engine', name], f'--engine {name}')


def check_left_behind():
    """Files that were asked for do not appear, nor lose what they have, when something else is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        new, old = os.path.join(folder, 'new'), os.path.join(folder, 'old')
        with open(old, 'w', encoding='utf-8') as f:
            f.write('kept')
        ring3('run', '--serial', f'file={new}', '--debugcon', f'file={old}', '--kernel', '/nonexistent')
        check('no file is made', not os.path.exists(new))
        with open(old, encoding='utf-8') as f:
            check('no file is emptied', f.read() == 'kept')


def check_help():
    for arguments in (['help'], ['--help'], ['help', 'run'], ['run', '--help'], ['help', 'help'], ['version'], ['--version']):
        status, out, err = ring3(*arguments)
        check(' '.join(arguments), status == 0 and out and not err, f'status {status}, {err!r}')


for bad in BAD:
    check_bad(*bad)
check_absent_engines()
check_left_behind()
check_help()
finish()
