/* Files: read whole or mapped, written whole or not at all. */
#ifndef LIMN_BASE_FILE_H
#define LIMN_BASE_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

#define PATH_MAX_BYTES 4096

/* "folder/name" into out (PATH_MAX_BYTES). An absolute name or an empty folder gives the name alone. */
MUST_USE bool path_join(char *out, const char *folder, const char *name, struct err *e);
bool path_exists(const char *path);
bool path_is_folder(const char *path);
/* The last component, borrowed from path. */
const char *path_name(const char *path);

/* Makes the folder and those above it; one that is there is fine. */
MUST_USE bool folder_make(const char *path, struct err *e);

/* Removes a folder with all that is in it (links are not followed), as far as that can be done; one that is not there is fine. */
void folder_remove(const char *path);

/* The names in a folder that end in `suffix` (NULL: all), sorted by bytes, without "." and "..". Free with
 * folder_names_free. */
MUST_USE bool folder_names(const char *path, const char *suffix, char ***names, size_t *count, struct err *e);
void folder_names_free(char **names, size_t count);

/* Reads a whole file of at most max_bytes; a 0 byte follows its end (not counted). *data is freed with mem_free. */
MUST_USE bool file_read(const char *path, size_t max_bytes, char **data, size_t *bytes, struct err *e);

/* A file mapped read-only. A later truncation by somebody else kills the process (SIGBUS): the price of no copy. */
struct file_map {
    const unsigned char *data;
    size_t bytes;
};
MUST_USE bool file_map(struct file_map *m, const char *path, struct err *e);
void file_unmap(struct file_map *m);
/* Tells the system that these bytes of the map are not needed in memory any more (they stay readable). */
void file_map_forget(const struct file_map *m, size_t offset, size_t bytes);

/* Writing: file_begin, then file_commit (flush, fsync, and only then it has its name) or file_abandon (nothing is left). Exactly one of the
 * two ends a successful file_begin; a failed file_commit leaves nothing either. The file has no name before (O_TMPFILE), so nothing is left of
 * a process that is killed; where a file system has no such files it is "path.part-PID", locked, and leftovers.h removes what remains. */
struct file_write {
    FILE *f;
    char path[PATH_MAX_BYTES], temporary[PATH_MAX_BYTES];
    bool nameless;
};
MUST_USE bool file_begin(struct file_write *w, const char *path, struct err *e);
MUST_USE bool file_put(struct file_write *w, const void *data, size_t bytes, struct err *e);
MUST_USE bool file_commit(struct file_write *w, struct err *e);
void file_abandon(struct file_write *w);

/* The three above in one. */
MUST_USE bool file_write_whole(const char *path, const void *data, size_t bytes, struct err *e);
/* Appends bytes with one write call. */
MUST_USE bool file_append(const char *path, const void *data, size_t bytes, struct err *e);
/* Appends a line (text and '\n') with one write call: a metrics log stays readable whatever happens. */
MUST_USE bool file_append_line(const char *path, const char *line, struct err *e);

#endif
