/* A file without a name, for what is made from another file and is too large for memory: on the disk ($TMPDIR, /var/tmp or /tmp, the
 * first that takes it), gone when it is unmapped or the process ends.
 *
 * begin wants its size; put the bytes anywhere in it; then map reads it, or fails and gives it up, as abandon does. */
#ifndef LIMN_BASE_SPILL_H
#define LIMN_BASE_SPILL_H

#include "base/file.h"

struct file_spill {
    int fd;
    size_t bytes;
};
/* ERR_IO: no place has the room. */
MUST_USE bool file_spill_begin(struct file_spill *s, size_t bytes, struct err *e);
MUST_USE bool file_spill_put(struct file_spill *s, size_t offset, const void *data, size_t bytes, struct err *e);
MUST_USE bool file_spill_map(struct file_spill *s, struct file_map *m, struct err *e);
void file_spill_abandon(struct file_spill *s);

#endif
