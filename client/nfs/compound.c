/* SPDX-License-Identifier: Apache-2.0 */
/* Building NFSv4.0 compounds as bytes, and picking results out of the reply. */
#include "client/nfs/compound.h"

#include <errno.h>
#include <string.h>

/* Attribute numbers (RFC 7530 section 5). */
enum {
    A_TYPE = 1, A_CHANGE = 3, A_SIZE = 4, A_FSID = 8, A_LEASE = 10, A_RDERROR = 11, A_FILEHANDLE = 19, A_FILEID = 20,
    A_FILES_AVAIL = 21, A_FILES_FREE = 22, A_FILES_TOTAL = 23, A_MAXNAME = 29, A_MODE = 33, A_NLINK = 35,
    A_OWNER = 36, A_GROUP = 37, A_RAWDEV = 41, A_SPACE_AVAIL = 42, A_SPACE_FREE = 43, A_SPACE_TOTAL = 44,
    A_SPACE_USED = 45, A_ATIME = 47, A_ATIME_SET = 48, A_CTIME = 52, A_MTIME = 53, A_MTIME_SET = 54,
};
#define BIT0(a) (1u << (a))
#define BIT1(a) (1u << ((a)-32))

#define STAT_MASK0 (BIT0(A_TYPE) | BIT0(A_CHANGE) | BIT0(A_SIZE) | BIT0(A_FSID) | BIT0(A_LEASE) | BIT0(A_FILEID))
#define STAT_MASK1                                                                                                   \
    (BIT1(A_MODE) | BIT1(A_NLINK) | BIT1(A_OWNER) | BIT1(A_GROUP) | BIT1(A_RAWDEV) | BIT1(A_SPACE_USED) |              \
     BIT1(A_ATIME) | BIT1(A_CTIME) | BIT1(A_MTIME))
#define FS_MASK0 (BIT0(A_FILES_AVAIL) | BIT0(A_FILES_FREE) | BIT0(A_FILES_TOTAL) | BIT0(A_MAXNAME))
#define FS_MASK1 (BIT1(A_SPACE_AVAIL) | BIT1(A_SPACE_FREE) | BIT1(A_SPACE_TOTAL))

/* Where the operation count lies: after an empty tag and the minor version. */
#define ENC_COUNT_AT 8

static void put32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, 4);
}

void enc_u32(struct nfs_enc *enc, uint32_t value)
{
    if (enc->size - enc->pos < 4) {
        enc->bad = true;
        return;
    }
    put32(enc->buf + enc->pos, value);
    enc->pos += 4;
}

void enc_u64(struct nfs_enc *enc, uint64_t value)
{
    enc_u32(enc, (uint32_t)(value >> 32));
    enc_u32(enc, (uint32_t)value);
}

void enc_raw(struct nfs_enc *enc, const void *data, size_t size)
{
    if (enc->size - enc->pos < size) {
        enc->bad = true;
        return;
    }
    memcpy(enc->buf + enc->pos, data, size);
    enc->pos += size;
}

void enc_bytes(struct nfs_enc *enc, const void *data, size_t size)
{
    static const uint8_t zero[4];

    enc_u32(enc, (uint32_t)size);
    enc_raw(enc, data, size);
    enc_raw(enc, zero, -size & 3);
}

void enc_start(struct nfs_enc *enc, void *buf, size_t size)
{
    *enc = (struct nfs_enc){.buf = buf, .size = size};
    enc_u32(enc, 0);
    enc_u32(enc, 0);
    enc_u32(enc, 0);
}

bool enc_finish(struct nfs_enc *enc)
{
    if (enc->bad)
        return false;
    put32(enc->buf + ENC_COUNT_AT, enc->ops);
    return true;
}

void enc_op(struct nfs_enc *enc, enum nfs_op op)
{
    enc_u32(enc, op);
    enc->ops++;
}

void enc_putfh(struct nfs_enc *enc, const struct nfs_fh *fh)
{
    enc_op(enc, NFS_OP_PUTFH);
    enc_bytes(enc, fh->data, fh->size);
}

void enc_name(struct nfs_enc *enc, enum nfs_op op, const char *name, size_t size)
{
    enc_op(enc, op);
    enc_bytes(enc, name, size);
}

void enc_stateid(struct nfs_enc *enc, const struct nfs_stateid *stateid)
{
    enc_u32(enc, stateid->seqid);
    enc_raw(enc, stateid->other, sizeof(stateid->other));
}

static void enc_mask(struct nfs_enc *enc, uint32_t first, uint32_t second)
{
    enc_u32(enc, 2);
    enc_u32(enc, first);
    enc_u32(enc, second);
}

void enc_attr_mask(struct nfs_enc *enc)
{
    enc_mask(enc, STAT_MASK0 | BIT0(A_RDERROR) | BIT0(A_FILEHANDLE), STAT_MASK1);
}

void enc_getattr(struct nfs_enc *enc)
{
    enc_op(enc, NFS_OP_GETATTR);
    enc_mask(enc, STAT_MASK0, STAT_MASK1);
}

void enc_getattr_statfs(struct nfs_enc *enc)
{
    enc_op(enc, NFS_OP_GETATTR);
    enc_mask(enc, FS_MASK0, FS_MASK1);
}

static void enc_id(struct nfs_enc *enc, uint32_t id)
{
    char text[12];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + id % 10);
        id /= 10;
    } while (id != 0);
    enc_bytes(enc, text + at, sizeof(text) - at);
}

static void enc_time(struct nfs_enc *enc, bool now, const struct timespec *time)
{
    enc_u32(enc, now ? 0 : 1); /* SET_TO_SERVER_TIME4, SET_TO_CLIENT_TIME4 */
    if (!now) {
        enc_u64(enc, (uint64_t)time->tv_sec);
        enc_u32(enc, (uint32_t)time->tv_nsec);
    }
}

void enc_fattr(struct nfs_enc *enc, const struct nfs_setattr *set)
{
    unsigned valid = set->valid;
    uint32_t first = valid & NFS_SET_SIZE ? BIT0(A_SIZE) : 0, second = 0;
    size_t length_at;

    if (valid & NFS_SET_MODE)
        second |= BIT1(A_MODE);
    if (valid & NFS_SET_UID)
        second |= BIT1(A_OWNER);
    if (valid & NFS_SET_GID)
        second |= BIT1(A_GROUP);
    if (valid & (NFS_SET_ATIME | NFS_SET_ATIME_NOW))
        second |= BIT1(A_ATIME_SET);
    if (valid & (NFS_SET_MTIME | NFS_SET_MTIME_NOW))
        second |= BIT1(A_MTIME_SET);
    enc_mask(enc, first, second);
    length_at = enc->pos;
    enc_u32(enc, 0);
    /* Values go in the order of their numbers. */
    if (valid & NFS_SET_SIZE)
        enc_u64(enc, set->size);
    if (valid & NFS_SET_MODE)
        enc_u32(enc, set->mode & 07777);
    if (valid & NFS_SET_UID)
        enc_id(enc, set->uid);
    if (valid & NFS_SET_GID)
        enc_id(enc, set->gid);
    if (valid & (NFS_SET_ATIME | NFS_SET_ATIME_NOW))
        enc_time(enc, valid & NFS_SET_ATIME_NOW, &set->atime);
    if (valid & (NFS_SET_MTIME | NFS_SET_MTIME_NOW))
        enc_time(enc, valid & NFS_SET_MTIME_NOW, &set->mtime);
    if (!enc->bad)
        put32(enc->buf + length_at, (uint32_t)(enc->pos - length_at - 4));
}

uint32_t dec_u32(struct nfs_dec *dec)
{
    uint32_t value;

    if (dec->end - dec->at < 4) {
        dec->bad = true;
        dec->at = dec->end;
        return 0;
    }
    memcpy(&value, dec->at, 4);
    dec->at += 4;
    return __builtin_bswap32(value);
}

uint64_t dec_u64(struct nfs_dec *dec)
{
    uint64_t high = dec_u32(dec);

    return high << 32 | dec_u32(dec);
}

void dec_skip(struct nfs_dec *dec, size_t size)
{
    size = (size + 3) & ~(size_t)3;
    if ((size_t)(dec->end - dec->at) < size) {
        dec->bad = true;
        dec->at = dec->end;
        return;
    }
    dec->at += size;
}

const uint8_t *dec_bytes(struct nfs_dec *dec, uint32_t *size)
{
    const uint8_t *at;

    *size = dec_u32(dec);
    at = dec->at;
    dec_skip(dec, *size);
    if (dec->bad) {
        *size = 0;
        return NULL;
    }
    return at;
}

void dec_start(struct nfs_dec *dec, const uint8_t *reply, size_t size)
{
    uint32_t tag;

    *dec = (struct nfs_dec){.at = reply, .end = reply + size};
    dec->status = dec_u32(dec);
    dec_bytes(dec, &tag);
    dec->left = dec_u32(dec);
    if (dec->bad)
        dec->status = NFS_ERR_IO;
}

uint32_t dec_op(struct nfs_dec *dec, enum nfs_op op)
{
    uint32_t status;

    if (dec->left == 0 || dec->bad) {
        if (dec->status == NFS_OK)
            dec->bad = true;
        return dec->status == NFS_OK ? NFS_ERR_IO : dec->status;
    }
    dec->left--;
    dec->op = dec_u32(dec);
    status = dec_u32(dec);
    if (dec->bad || dec->op != (uint32_t)op) {
        dec->bad = true;
        return dec->status == NFS_OK ? NFS_ERR_IO : dec->status;
    }
    if (status != NFS_OK)
        dec->status = status;
    return status;
}

void dec_fh(struct nfs_dec *dec, struct nfs_fh *fh)
{
    uint32_t size;
    const uint8_t *data = dec_bytes(dec, &size);

    if (data == NULL || size > NFS_FH_MAX || size == 0) {
        dec->bad = true;
        fh->size = 0;
        return;
    }
    fh->size = size;
    memcpy(fh->data, data, size);
}

void dec_stateid(struct nfs_dec *dec, struct nfs_stateid *stateid)
{
    stateid->seqid = dec_u32(dec);
    if (dec->end - dec->at < 12) {
        dec->bad = true;
        return;
    }
    memcpy(stateid->other, dec->at, 12);
    dec->at += 12;
}

void dec_change_info(struct nfs_dec *dec)
{
    dec_u32(dec);
    dec_u64(dec);
    dec_u64(dec);
}

/* "1000", or "root@domain"; any other name is nobody. */
static uint32_t dec_id(struct nfs_dec *dec)
{
    uint32_t size, id = 0;
    const uint8_t *text = dec_bytes(dec, &size);

    if (size >= 4 && memcmp(text, "root", 4) == 0 && (size == 4 || text[4] == '@'))
        return 0;
    if (size == 0 || size > 10)
        return 65534;
    for (uint32_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 65534;
        id = id * 10 + (text[i] - '0');
    }
    return id;
}

static void dec_time(struct nfs_dec *dec, struct timespec *time)
{
    time->tv_sec = (time_t)dec_u64(dec);
    time->tv_nsec = dec_u32(dec) % 1000000000u;
}

/* The bitmap of a fattr4 and the extent of its values; the first two words are all we ask for. */
static void dec_mask(struct nfs_dec *dec, uint32_t mask[2], const uint8_t **end)
{
    uint32_t words = dec_u32(dec), size;

    mask[0] = mask[1] = 0;
    for (uint32_t i = 0; i < words && !dec->bad; i++) {
        uint32_t word = dec_u32(dec);

        if (i < 2)
            mask[i] = word;
        else if (word != 0)
            dec->bad = true;
    }
    size = dec_u32(dec);
    *end = dec->at;
    if ((size_t)(dec->end - dec->at) < size)
        dec->bad = true;
    else
        *end = dec->at + size;
}

void dec_attr(struct nfs_dec *dec, struct nfs_attr *attr)
{
    const uint8_t *end;
    uint32_t mask[2];

    memset(attr, 0, sizeof(*attr));
    dec_mask(dec, mask, &end);
    if (dec->bad)
        return;
    if ((mask[0] & ~(STAT_MASK0 | BIT0(A_RDERROR) | BIT0(A_FILEHANDLE))) || (mask[1] & ~STAT_MASK1))
        dec->bad = true;
    if (mask[0] & BIT0(A_TYPE))
        attr->type = dec_u32(dec);
    if (mask[0] & BIT0(A_CHANGE))
        attr->change = dec_u64(dec);
    if (mask[0] & BIT0(A_SIZE))
        attr->size = dec_u64(dec);
    if (mask[0] & BIT0(A_FSID)) {
        attr->fsid_major = dec_u64(dec);
        attr->fsid_minor = dec_u64(dec);
    }
    if (mask[0] & BIT0(A_LEASE))
        attr->lease = dec_u32(dec);
    if (mask[0] & BIT0(A_RDERROR))
        attr->rderror = dec_u32(dec);
    if (mask[0] & BIT0(A_FILEHANDLE)) {
        struct nfs_fh fh;

        dec_fh(dec, &fh);
        if (dec->fh != NULL && !dec->bad)
            *dec->fh = fh;
    }
    if (mask[0] & BIT0(A_FILEID))
        attr->fileid = dec_u64(dec);
    if (mask[1] & BIT1(A_MODE))
        attr->mode = dec_u32(dec) & 07777;
    if (mask[1] & BIT1(A_NLINK))
        attr->nlink = dec_u32(dec);
    if (mask[1] & BIT1(A_OWNER))
        attr->uid = dec_id(dec);
    if (mask[1] & BIT1(A_GROUP))
        attr->gid = dec_id(dec);
    if (mask[1] & BIT1(A_RAWDEV)) {
        attr->rdev_major = dec_u32(dec);
        attr->rdev_minor = dec_u32(dec);
    }
    if (mask[1] & BIT1(A_SPACE_USED))
        attr->used = dec_u64(dec);
    if (mask[1] & BIT1(A_ATIME))
        dec_time(dec, &attr->atime);
    if (mask[1] & BIT1(A_CTIME))
        dec_time(dec, &attr->ctime);
    if (mask[1] & BIT1(A_MTIME))
        dec_time(dec, &attr->mtime);
    if (dec->at != end)
        dec->bad = true;
}

void dec_statfs(struct nfs_dec *dec, struct nfs_statfs *fs)
{
    const uint8_t *end;
    uint32_t mask[2];

    memset(fs, 0, sizeof(*fs));
    dec_mask(dec, mask, &end);
    if (dec->bad)
        return;
    if ((mask[0] & ~FS_MASK0) || (mask[1] & ~FS_MASK1))
        dec->bad = true;
    if (mask[0] & BIT0(A_FILES_AVAIL))
        fs->files_avail = dec_u64(dec);
    if (mask[0] & BIT0(A_FILES_FREE))
        fs->files_free = dec_u64(dec);
    if (mask[0] & BIT0(A_FILES_TOTAL))
        fs->files_total = dec_u64(dec);
    if (mask[0] & BIT0(A_MAXNAME))
        fs->maxname = dec_u32(dec);
    if (mask[1] & BIT1(A_SPACE_AVAIL))
        fs->space_avail = dec_u64(dec);
    if (mask[1] & BIT1(A_SPACE_FREE))
        fs->space_free = dec_u64(dec);
    if (mask[1] & BIT1(A_SPACE_TOTAL))
        fs->space_total = dec_u64(dec);
    if (dec->at != end)
        dec->bad = true;
}

int nfs_errno(uint32_t status)
{
    switch (status) {
    case NFS_OK:
        return 0;
    case NFS_ERR_PERM:
    case NFS_ERR_NOENT:
    case NFS_ERR_IO:
    case NFS_ERR_NXIO:
    case NFS_ERR_ACCESS:
    case NFS_ERR_EXIST:
    case NFS_ERR_XDEV:
    case NFS_ERR_NOTDIR:
    case NFS_ERR_ISDIR:
    case NFS_ERR_INVAL:
    case NFS_ERR_FBIG:
    case NFS_ERR_NOSPC:
    case NFS_ERR_ROFS:
    case NFS_ERR_MLINK:
        return -(int)status; /* the protocol took these numbers from Unix */
    case NFS_ERR_NAMETOOLONG:
        return -ENAMETOOLONG;
    case NFS_ERR_NOTEMPTY:
        return -ENOTEMPTY;
    case NFS_ERR_DQUOT:
        return -EDQUOT;
    case NFS_ERR_STALE:
    case NFS_ERR_BADHANDLE:
    case NFS_ERR_FHEXPIRED:
        return -ESTALE;
    case NFS_ERR_NOTSUPP:
    case NFS_ERR_ATTRNOTSUPP:
    case NFS_ERR_LOCK_NOTSUPP:
        return -EOPNOTSUPP;
    case NFS_ERR_BADTYPE:
    case NFS_ERR_BADCHAR:
    case NFS_ERR_BADNAME:
    case NFS_ERR_BADOWNER:
    case NFS_ERR_BAD_RANGE:
        return -EINVAL;
    case NFS_ERR_SYMLINK:
        return -ELOOP;
    case NFS_ERR_DENIED:
    case NFS_ERR_LOCKED:
        return -EAGAIN;
    case NFS_ERR_SHARE_DENIED:
    case NFS_ERR_OPENMODE:
        return -EACCES;
    case NFS_ERR_FILE_OPEN:
        return -EBUSY;
    case NFS_ERR_DEADLOCK:
        return -EDEADLK;
    case NFS_ERR_WRONGSEC:
        return -EPERM;
    case NFS_ERR_RESOURCE:
        return -ENOLCK;
    case NFS_ERR_DELAY:
    case NFS_ERR_GRACE:
        return -EAGAIN; /* retried below; only seen when the caller asked not to */
    default:
        return -EIO;
    }
}
