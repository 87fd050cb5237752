#!/usr/bin/python3
"""Without a guest of one's own, the built-in one is alive in under a second, answers keys, and can be ended."""
from harness import Running, check, finish, run_command

SECONDS = 5  # the promise is one, on a host that does nothing else

for cpus in ('1', '2', '4'):
    guest = Running(*run_command('--cpus', cpus))
    check(f'{cpus} cpu: alive', guest.expect('processor', SECONDS) is not None, guest.output)
    check(f'{cpus} cpu: counts them', guest.expect(f'{cpus} x ', SECONDS) is not None, guest.output)
    guest.type('m')
    check('m: memory map', guest.expect('0000000000000000 - ', SECONDS) is not None, guest.output)
    check('Ctrl-a x', guest.end() == 0)

guest = Running(*run_command())
guest.expect('processor', SECONDS)
guest.type('o')
guest.expect('Good-bye', SECONDS)
check('o: powers off', guest.process.wait(SECONDS) == 0)
finish()
