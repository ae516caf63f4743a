/* What a killed process left unfinished: NAME.part-PID beside NAME, a file (file.h) or a folder.
 *
 * Only what is surely nobody's goes: the name has that form, it is ours (the user's), the process is gone, and nobody holds the lock
 * that file_begin takes, so a writer in another container or on another machine keeps its file. Failures are passed over: a leftover is
 * no reason not to work. Links are not followed. */
#ifndef LIMN_BASE_LEFTOVERS_H
#define LIMN_BASE_LEFTOVERS_H

/* Files at any depth below `folder`, which may be missing. To be called when a command begins to work in a folder of its own. */
void leftovers_remove(const char *folder);
/* The file or folder of unfinished `path` itself. */
void leftovers_remove_beside(const char *path);

#endif
