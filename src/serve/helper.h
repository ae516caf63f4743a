/* A thread with room on its stack. civetweb starts its own with 100 KiB, too little for what a request needs (pictures, paths,
 * JSON): each of them has a helper that does the work while it waits. */
#ifndef LIMN_SERVE_HELPER_H
#define LIMN_SERVE_HELPER_H

struct helper;
/* One for the thread that calls it. NULL without memory. Its thread starts with the first work. */
struct helper *helper_new(void);
void helper_free(struct helper *h); /* accepts NULL */
/* Calls work(self) in the helper's thread and waits. False if no thread can be started. */
_Bool helper_do(struct helper *h, void (*work)(void *self), void *self);

#endif
