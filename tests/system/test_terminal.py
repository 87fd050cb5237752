#!/usr/bin/python3
"""The terminal: escape keys, the monitor, and that its mode is as it was after every way out."""
import os
import signal
import termios
import time

import pexpect

from harness import RING3, check, finish, run_command

ENGINE_LINE = r'ring3: engine: [^\r\n]*\r?\n'


class Session:
    """ring3 on a pseudo-terminal of its own, with the built-in guest."""

    def __init__(self, *arguments):
        # A shell stands between, as in life: it stays when ring3 is gone, so the terminal does. It starts ring3 at a key press,
        # when the mode of the terminal before that is known.
        script = 'trap : INT TERM HUP; read start; "$@"; echo "status $?"; read end'
        self.tty = pexpect.spawn('/bin/sh', ['-c', script, 'sh', RING3, *run_command(*arguments)], timeout=20, echo=True)
        self.before = self.mode()
        self.tty.send('\r')
        self.tty.expect(ENGINE_LINE)
        self.wait_raw()

    def mode(self):
        return termios.tcgetattr(self.tty.child_fd)

    def raw(self):
        return not self.mode()[3] & termios.ICANON

    def wait(self, condition, seconds=5):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        return condition()

    def wait_raw(self):
        return self.wait(self.raw)

    def pid(self):
        """ring3's process: the child of the shell that is not the guard."""
        with open(f'/proc/{self.tty.pid}/task/{self.tty.pid}/children', encoding='ascii') as f:
            return int(f.read().split()[0])

    def restored(self):
        return self.wait(lambda: self.mode() == self.before)

    def status(self):
        self.tty.expect(r'status (\d+)')
        return int(self.tty.match.group(1))

    def close(self):
        self.tty.close(force=True)


def gone(pid):
    return not os.path.exists(f'/proc/{pid}')


def stopped(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        return f.read().rsplit(')', 1)[1].split()[0] == 'T'


def check_quit():
    s = Session()
    check('raw while the guest has it', s.raw())
    s.tty.send('\x01x')
    check('Ctrl-a x: status 0', s.status() == 0)
    check('Ctrl-a x: terminal as it was', s.restored(), s.mode())
    s.close()


def check_keys():
    s = Session()
    s.tty.send('\x01h')
    s.tty.expect('Ctrl-a x')
    s.tty.expect('monitor')
    check('Ctrl-a h lists the keys', True)
    s.tty.send('\x03')
    time.sleep(0.2)
    check('Ctrl-c goes to the guest', not gone(s.pid()))
    s.tty.send('\x01x')
    s.status()
    s.close()


def check_monitor():
    s = Session('--cpus', '2')
    s.tty.send('\x01c')
    s.tty.expect(r'\(ring3\) ')
    for command, answer in [('help', 'info registers'), ('info status', 'running'), ('info registers 1', 'rip='), ('info cpus', '1: '),
                            ('info devices', r'\.0'), ('info mem', 'RAM'), ('info ports', '-'), ('x /4xb 0', '000000000'), ('xp /2xg 0x1000', '1000:'),
                            ('disassemble', ':'), ('code', 'blocks with|makes no code'), ('info nothing', 'no such device'), ('nonsense', 'no such command'),
                            ('x /9z 0', 'no such format'), ('x', 'which address'), ('x /i bogus', 'not a value'), ('info registers 7', 'no such processor'),
                            ('pause', ''), ('info status', 'paused'), ('continue', ''), ('info status', 'running'), ('stats', ''),
                            ('reset', ''), ('nmi', '')]:
        s.tty.send(command + '\r')
        good = s.tty.expect([answer + r'[\s\S]*?\(ring3\) ', pexpect.TIMEOUT], timeout=10) == 0
        check(f'monitor: {command}', good, s.tty.before)
        time.sleep(0.05)
    s.tty.send('infx\x7f\x15quit\r')
    check('monitor: quit', s.status() == 0)
    check('monitor: terminal as it was', s.restored())
    s.close()


def check_signal(number, expected=None):
    name = signal.Signals(number).name
    s = Session()
    pid = s.pid()
    os.kill(pid, number)
    status = s.status()
    check(f'{name}: status', status == (expected or 128 + number), status)
    check(f'{name}: terminal as it was', s.restored(), s.mode())
    check(f'{name}: gone', s.wait(lambda: gone(pid)))
    s.close()


def check_stop():
    s = Session()
    pid = s.pid()
    os.kill(pid, signal.SIGTSTP)
    check('SIGTSTP: stopped', s.wait(lambda: stopped(pid)))  # as a shell waits before its fg: an earlier SIGCONT is lost
    check('SIGTSTP: terminal as it was while stopped', s.restored(), s.mode())
    os.kill(pid, signal.SIGCONT)
    check('SIGCONT: raw again', s.wait_raw())
    s.tty.send('\x01x')
    check('ends after SIGCONT', s.status() == 0)
    check('terminal as it was after SIGCONT', s.restored())
    s.close()


check_quit()
check_keys()
check_monitor()
for ending in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL):
    check_signal(ending)
for crash in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT):
    check_signal(crash)
check_stop()
finish()
