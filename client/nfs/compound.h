/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building NFSv4.0 compounds as bytes, and picking results out of the reply. No allocation, bounds on everything:
 * an encoder that runs over its buffer or a decoder that runs off the reply only sets `bad`.
 */
#ifndef CLIENT_NFS_COMPOUND_H
#define CLIENT_NFS_COMPOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Operation numbers (RFC 7530 section 16). */
enum nfs_op {
    NFS_OP_ACCESS = 3,
    NFS_OP_CLOSE = 4,
    NFS_OP_COMMIT = 5,
    NFS_OP_CREATE = 6,
    NFS_OP_GETATTR = 9,
    NFS_OP_GETFH = 10,
    NFS_OP_LINK = 11,
    NFS_OP_LOCK = 12,
    NFS_OP_LOCKT = 13,
    NFS_OP_LOCKU = 14,
    NFS_OP_LOOKUP = 15,
    NFS_OP_LOOKUPP = 16,
    NFS_OP_NVERIFY = 17,
    NFS_OP_OPEN = 18,
    NFS_OP_OPEN_CONFIRM = 20,
    NFS_OP_OPEN_DOWNGRADE = 21,
    NFS_OP_PUTFH = 22,
    NFS_OP_PUTROOTFH = 24,
    NFS_OP_READ = 25,
    NFS_OP_READDIR = 26,
    NFS_OP_READLINK = 27,
    NFS_OP_REMOVE = 28,
    NFS_OP_RENAME = 29,
    NFS_OP_RENEW = 30,
    NFS_OP_RESTOREFH = 31,
    NFS_OP_SAVEFH = 32,
    NFS_OP_SETATTR = 34,
    NFS_OP_SETCLIENTID = 35,
    NFS_OP_SETCLIENTID_CONFIRM = 36,
    NFS_OP_VERIFY = 37,
    NFS_OP_WRITE = 38,
    NFS_OP_RELEASE_LOCKOWNER = 39,
};

/* Status codes the client acts on (RFC 7530 section 13). */
enum nfs_status {
    NFS_OK = 0,
    NFS_ERR_PERM = 1,
    NFS_ERR_NOENT = 2,
    NFS_ERR_IO = 5,
    NFS_ERR_NXIO = 6,
    NFS_ERR_ACCESS = 13,
    NFS_ERR_EXIST = 17,
    NFS_ERR_XDEV = 18,
    NFS_ERR_NOTDIR = 20,
    NFS_ERR_ISDIR = 21,
    NFS_ERR_INVAL = 22,
    NFS_ERR_FBIG = 27,
    NFS_ERR_NOSPC = 28,
    NFS_ERR_ROFS = 30,
    NFS_ERR_MLINK = 31,
    NFS_ERR_NAMETOOLONG = 63,
    NFS_ERR_NOTEMPTY = 66,
    NFS_ERR_DQUOT = 69,
    NFS_ERR_STALE = 70,
    NFS_ERR_BADHANDLE = 10001,
    NFS_ERR_BAD_COOKIE = 10003,
    NFS_ERR_NOTSUPP = 10004,
    NFS_ERR_TOOSMALL = 10005,
    NFS_ERR_SERVERFAULT = 10006,
    NFS_ERR_BADTYPE = 10007,
    NFS_ERR_DELAY = 10008,
    NFS_ERR_SAME = 10009,
    NFS_ERR_DENIED = 10010,
    NFS_ERR_EXPIRED = 10011,
    NFS_ERR_LOCKED = 10012,
    NFS_ERR_GRACE = 10013,
    NFS_ERR_FHEXPIRED = 10014,
    NFS_ERR_SHARE_DENIED = 10015,
    NFS_ERR_WRONGSEC = 10016,
    NFS_ERR_CLID_INUSE = 10017,
    NFS_ERR_RESOURCE = 10018,
    NFS_ERR_MOVED = 10019,
    NFS_ERR_NOFILEHANDLE = 10020,
    NFS_ERR_STALE_CLIENTID = 10022,
    NFS_ERR_STALE_STATEID = 10023,
    NFS_ERR_OLD_STATEID = 10024,
    NFS_ERR_BAD_STATEID = 10025,
    NFS_ERR_BAD_SEQID = 10026,
    NFS_ERR_NOT_SAME = 10027,
    NFS_ERR_SYMLINK = 10029,
    NFS_ERR_ATTRNOTSUPP = 10032,
    NFS_ERR_BADXDR = 10036,
    NFS_ERR_LOCKS_HELD = 10037,
    NFS_ERR_OPENMODE = 10038,
    NFS_ERR_BADOWNER = 10039,
    NFS_ERR_BADCHAR = 10040,
    NFS_ERR_BADNAME = 10041,
    NFS_ERR_BAD_RANGE = 10042,
    NFS_ERR_LOCK_NOTSUPP = 10043,
    NFS_ERR_DEADLOCK = 10045,
    NFS_ERR_FILE_OPEN = 10046,
    NFS_ERR_ADMIN_REVOKED = 10047,
};

#define NFS_FH_MAX 128
#define NFS_NAME_MAX 255

struct nfs_fh {
    uint32_t size;
    uint8_t data[NFS_FH_MAX];
};

struct nfs_stateid {
    uint32_t seqid;
    uint8_t other[12];
};

/* File types as the protocol numbers them. */
enum nfs_type { NFS_REG = 1, NFS_DIR = 2, NFS_BLK = 3, NFS_CHR = 4, NFS_LNK = 5, NFS_SOCK = 6, NFS_FIFO = 7 };

/* Attributes of a file: what a stat needs and what the caches compare. Absent ones are zero. */
struct nfs_attr {
    uint32_t type;
    uint32_t mode; /* permission bits, set-id and sticky bits; no type */
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev_major, rdev_minor;
    uint64_t size, used, fileid, change;
    uint64_t fsid_major, fsid_minor;
    struct timespec atime, mtime, ctime;
    uint32_t lease;   /* seconds; root only */
    uint32_t rderror; /* READDIR: status of this entry, 0 fine */
};

/* File system totals. */
struct nfs_statfs {
    uint64_t space_total, space_free, space_avail, files_total, files_free, files_avail;
    uint32_t maxname;
};

/* What to change in SETATTR, OPEN and CREATE. */
enum nfs_set {
    NFS_SET_SIZE = 1,
    NFS_SET_MODE = 2,
    NFS_SET_UID = 4,
    NFS_SET_GID = 8,
    NFS_SET_ATIME = 16,
    NFS_SET_MTIME = 32,
    NFS_SET_ATIME_NOW = 64, /* the server's clock; wins over NFS_SET_ATIME */
    NFS_SET_MTIME_NOW = 128,
};

struct nfs_setattr {
    unsigned valid; /* enum nfs_set */
    uint64_t size;
    uint32_t mode, uid, gid;
    struct timespec atime, mtime;
};

/* An encoder over the caller's buffer. */
struct nfs_enc {
    uint8_t *buf;
    size_t size, pos;
    uint32_t ops;
    bool bad;
};

/* Starts a compound: tag, minor version and a place for the count. */
void enc_start(struct nfs_enc *enc, void *buf, size_t size);

/* Writes the count in; returns false when the buffer was too small. */
bool enc_finish(struct nfs_enc *enc);

void enc_u32(struct nfs_enc *enc, uint32_t value);
void enc_u64(struct nfs_enc *enc, uint64_t value);
void enc_bytes(struct nfs_enc *enc, const void *data, size_t size); /* length, bytes, padding */
void enc_raw(struct nfs_enc *enc, const void *data, size_t size);   /* bytes only, a multiple of four */
void enc_op(struct nfs_enc *enc, enum nfs_op op);                   /* counts it */
void enc_putfh(struct nfs_enc *enc, const struct nfs_fh *fh);
void enc_name(struct nfs_enc *enc, enum nfs_op op, const char *name, size_t size); /* LOOKUP, REMOVE, LINK */
void enc_stateid(struct nfs_enc *enc, const struct nfs_stateid *stateid);
void enc_getattr(struct nfs_enc *enc);         /* all of struct nfs_attr */
void enc_attr_mask(struct nfs_enc *enc);       /* its bitmap alone, and the handle (READDIR) */
void enc_getattr_statfs(struct nfs_enc *enc);  /* all of struct nfs_statfs */
void enc_fattr(struct nfs_enc *enc, const struct nfs_setattr *set);

/* A decoder over the reply. */
struct nfs_dec {
    const uint8_t *at, *end;
    uint32_t status; /* of the compound */
    uint32_t left;   /* results not yet looked at */
    uint32_t op;     /* of the last result */
    bool bad;        /* the reply is no XDR we understand */
    struct nfs_fh *fh; /* READDIR: where dec_attr puts the entry's handle; NULL: nowhere */
};

/* Reads the head of the reply. */
void dec_start(struct nfs_dec *dec, const uint8_t *reply, size_t size);

/* Goes to the next result, which must be of op; returns its status. Wrong op or no result: `bad`, NFS_ERR_IO,
 * except that when the results ended early because the compound failed it returns the compound's status. */
uint32_t dec_op(struct nfs_dec *dec, enum nfs_op op);

uint32_t dec_u32(struct nfs_dec *dec);
uint64_t dec_u64(struct nfs_dec *dec);
const uint8_t *dec_bytes(struct nfs_dec *dec, uint32_t *size); /* NULL and 0 when bad */
void dec_skip(struct nfs_dec *dec, size_t size);
void dec_fh(struct nfs_dec *dec, struct nfs_fh *fh);
void dec_stateid(struct nfs_dec *dec, struct nfs_stateid *stateid);
void dec_attr(struct nfs_dec *dec, struct nfs_attr *attr); /* a fattr4 */
void dec_statfs(struct nfs_dec *dec, struct nfs_statfs *fs);
void dec_change_info(struct nfs_dec *dec);

/* The errno (negative) for a status; 0 for NFS_OK. The only such table in the client. */
int nfs_errno(uint32_t status);

#endif
