/*
 * 9P2000.L as it goes over the wire: numbers of the protocol. The base protocol is Plan 9's intro(5); the messages of
 * the variant are those that Linux's client sends (Documentation/filesystems/9p.rst, and the description of the diod
 * project). Integers are little-endian; a string is a u16 length and bytes.
 */
#ifndef BACKEND_SHARE_P9_H
#define BACKEND_SHARE_P9_H

/* Types of messages; the reply's is one more. */
enum {
    P9_RLERROR = 7,
    P9_TSTATFS = 8,
    P9_TLOPEN = 12,
    P9_TLCREATE = 14,
    P9_TSYMLINK = 16,
    P9_TMKNOD = 18,
    P9_TRENAME = 20,
    P9_TREADLINK = 22,
    P9_TGETATTR = 24,
    P9_TSETATTR = 26,
    P9_TXATTRWALK = 30,
    P9_TXATTRCREATE = 32,
    P9_TREADDIR = 40,
    P9_TFSYNC = 50,
    P9_TLOCK = 52,
    P9_TGETLOCK = 54,
    P9_TLINK = 70,
    P9_TMKDIR = 72,
    P9_TRENAMEAT = 74,
    P9_TUNLINKAT = 76,
    P9_TVERSION = 100,
    P9_TAUTH = 102,
    P9_TATTACH = 104,
    P9_TFLUSH = 108,
    P9_TWALK = 110,
    P9_TREAD = 116,
    P9_TWRITE = 118,
    P9_TCLUNK = 120,
    P9_TREMOVE = 122,
    P9_TYPES = 128,
};

#define P9_HEADER 7  /* size[4] type[1] tag[2] */
#define P9_DATA   11 /* where the bytes of Rread and Rreaddir begin */
#define P9_WRITE  23 /* where those of Twrite do */

#define P9_NOFID 0xffffffffu

#define P9_WALK_MAX 16 /* names of one walk */
#define P9_NAME_MAX 255
#define P9_TEXT_MAX 4096 /* bytes of a symbolic link's target, with its end */

#define P9_QID_SIZE 13 /* type[1] version[4] path[8] */
enum { P9_QTDIR = 0x80, P9_QTSYMLINK = 0x02, P9_QTFILE = 0 };

/* Of Tgetattr and Rgetattr: all but btime, generation and data version. */
#define P9_ATTR_BASIC 0x7ffu

/* Of Tsetattr. */
enum {
    P9_SET_MODE = 1,
    P9_SET_UID = 2,
    P9_SET_GID = 4,
    P9_SET_SIZE = 8,
    P9_SET_ATIME = 16,
    P9_SET_MTIME = 32,
    P9_SET_CTIME = 64,
    P9_SET_ATIME_GIVEN = 128,
    P9_SET_MTIME_GIVEN = 256,
};

/* Of Tlopen and Tlcreate: numbered as Linux does on x86. */
#define P9_OPEN_ACCESS 3u
#define P9_OPEN_EXCL   0200u
#define P9_OPEN_TRUNC  01000u
#define P9_OPEN_DSYNC  010000u
#define P9_OPEN_SYNC   04010000u

#define P9_UNLINK_DIR 0x200u /* Tunlinkat: AT_REMOVEDIR */

#define P9_LOCK_SUCCESS 0
#define P9_LOCK_UNLOCK  2 /* type in Tgetlock and Rgetlock */

#define P9_STATFS_TYPE 0x01021997u /* V9FS_MAGIC */

#endif
