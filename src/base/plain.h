/* Texts that others chose, names of files and captions, as they can be told to people. */
#ifndef LIMN_BASE_PLAIN_H
#define LIMN_BASE_PLAIN_H

#include <stddef.h>

/* Both copy as much of `from` as fits into out[bytes] and return out. */

/* For a line in a terminal, whose cursor it must not move: each control character (Unicode's too) becomes a space. NULL is "". */
char *plain_line(char *out, size_t bytes, const char *from);
/* Bytes that are no UTF-8 are told as "\xff", so that the name can be told and found. */
char *plain_utf8(char *out, size_t bytes, const char *from);

#endif
