#include "base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

bool file_spill_begin(struct file_spill *s, size_t bytes, struct err *e)
{
    const char *const folders[] = { getenv("TMPDIR"), "/var/tmp", "/tmp" };
    int why = ENOENT;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        int fd = folders[i] && *folders[i] ? open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
        if (fd < 0)
            continue;
        if ((why = posix_fallocate(fd, 0, (off_t)bytes)) == 0) { /* so that it cannot run out of room in the middle */
            *s = (struct file_spill){ fd, bytes };
            return true;
        }
        close(fd);
    }
    errno = why;
    return err_errno(e, "no room for a scratch file of %zu bytes", bytes);
}

bool file_spill_put(struct file_spill *s, size_t offset, const void *data, size_t bytes, struct err *e)
{
    const char *at = data;
    while (bytes) {
        ssize_t n = pwrite(s->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(e, "cannot write a scratch file");
        at += n;
        offset += (size_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

bool file_spill_map(struct file_spill *s, struct file_map *m, struct err *e)
{
    void *p = mmap(NULL, s->bytes, PROT_READ, MAP_PRIVATE, s->fd, 0);
    *m = p == MAP_FAILED ? (struct file_map){ 0 } : (struct file_map){ p, s->bytes };
    bool good = p != MAP_FAILED || err_errno(e, "cannot map a scratch file");
    file_spill_abandon(s);
    return good;
}

void file_spill_abandon(struct file_spill *s)
{
    close(s->fd);
}
