/* The gallery's files: FOLDER/ab/abcd....png, named after the SHA-256 of their bytes. A file is written whole or not at all, and
 * the same bytes are one file. */
#ifndef LIMN_STORE_PICTURE_FILES_H
#define LIMN_STORE_PICTURE_FILES_H

#include <stddef.h>

#include "base/file.h"

/* Puts a file with these bytes in place and on the disk; one that is there stays. type: its ending, 1 to 8 small letters or digits.
 * hash[65] is filled. errors  ERR_IO (a full disk says so), ERR_ARG for a type that is none, ERR_LIMIT. */
MUST_USE bool picture_file_put(const char *folder, const void *data, size_t bytes, const char *type, char *hash, struct err *e);
/* The path of such a file into out[PATH_MAX_BYTES]; nothing is looked at. A hash that is not 64 digits is ERR_ARG: what others say
 * never leaves the folder. */
MUST_USE bool picture_file_path(char *out, const char *folder, const char *hash, const char *type, struct err *e);
/* Removes a file that no row names any more, unless somebody put it in place within the last hour: its row may be on its way. */
void picture_file_forget(const char *folder, const char *hash, const char *type);

#endif
