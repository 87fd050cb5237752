#!/usr/bin/python3
"""Programs that test the machine they run on, on the host's root file system in a guest of two processors.

    test_programs.py BUILD [SECONDS]

stress-ng compares what it computes with what has to come out (--verify), and Python's own tests (Debian's libpython3.11-testsuite and
the like, if they are there) say whether they passed. SECONDS, by preset 2, is how long four of stress-ng's parts at a time run.
"""
import subprocess
import sys

from harness import check, complaints, finish, need_guest, ring3, root_command

SECONDS = sys.argv[2] if len(sys.argv) > 2 else '2'
TOGETHER = 4

# Arithmetic, strings and code; memory and its sharing; faults and signals; processes, locks and the kernel's ways in.
STRESSORS = ('atomic bsearch crypt funccall goto hash heapsort jmpbuf longjmp lsearch matrix mergesort nop prime qsort radixsort rotate skiplist '
             'str tree tsc vecfp vecmath vecshuf vecwide wcs zlib '
             'cacheline fork futex getrandom icache lockbus malloc mcontend membarrier memcpy memfd memthrash mincore mlock mmap mmapfixed mprotect '
             'mremap msync mutex pagemove pipe poll prctl pthread ptrace randlist remap sem shm sigabrt sigchld sigfpe signal sigsegv sigtrap '
             'stack stackmmap switch syscall vdso vforkmany vm x86cpuid x86syscall').split()

TESTS = ('test_array test_binascii test_cmath test_complex test_ctypes test_decimal test_exceptions test_fcntl test_float test_fork1 '
         'test_fractions test_hashlib test_int test_json test_long test_math test_mmap test_posix test_pty test_re test_select test_strtod '
         'test_struct test_thread test_threadsignals test_time test_unicodedata test_zlib').split()


def guest(words, seconds):
    """Status, standard output and standard error of the command."""
    return ring3(*root_command('--memory', '2G', '--cpus', '2'), '--', *words, timeout=seconds)


def arithmetic():
    status, out, err = guest(['stress-ng', '--cpu', '2', '--cpu-method', 'all', '--verify', '--timeout', '8'], 200)
    check('stress-ng: all methods of arithmetic', status == 0 and 'fail:' not in out + err, (status, out, err))


def parts():
    known = subprocess.run(['stress-ng', '--stressors'], capture_output=True, text=True, check=False).stdout.split()
    use = [name for name in STRESSORS if name in known]
    check('stress-ng knows what is asked for', len(use) > len(STRESSORS) // 2, use)
    groups = [use[n:n + TOGETHER] for n in range(0, len(use), TOGETHER)]
    each = '; '.join(f'stress-ng {" ".join(f"--{name} 1" for name in group)} --verify --timeout {SECONDS} 2>&1 || echo "FAILED: {group} $?"'
                     for group in groups)
    status, out, err = guest(['sh', '-c', each + '; dmesg'], 200 + 3 * len(groups) * int(SECONDS))
    # 3: out of some resource, 4: not for this kernel or machine.
    failed = [line for line in out.splitlines() if 'fail:' in line or 'FAILED: ' in line and not line.endswith((' 3', ' 4'))]
    check(f'stress-ng: {len(use)} parts, and none fails', status == 0 and not failed, failed or err)
    check('the kernel has nothing to say', not complaints(out), complaints(out))


def python():
    if subprocess.run(['/usr/bin/python3', '-c', 'import test.test_math'], stderr=subprocess.DEVNULL, check=False).returncode:
        print('no tests of Python on this host: not tried')
        return
    status, out, err = guest(['sh', '-c', f'cd /tmp && HOME=/tmp exec /usr/bin/python3 -m test -j2 {" ".join(TESTS)} 2>&1'], 900)
    check('Python\'s tests', status == 0 and 'SUCCESS' in out, out[-3000:] + err)


def main():
    need_guest()
    arithmetic()
    parts()
    python()
    finish()


if len(sys.argv) < 2:
    sys.exit(__doc__)
main()
