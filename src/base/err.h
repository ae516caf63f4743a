/* Errors: a code for programs and a sentence for people.
 *
 * The caller owns `struct err` (fixed size, so it works without memory and in any thread). The place that knows the
 * cause calls err_set; each place on the way up may call err_add to say where it was. The first cause stays.
 * A function that can fail returns bool (or a pointer) and takes `struct err *e` last; after false, e is filled. */
#ifndef LIMN_BASE_ERR_H
#define LIMN_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

enum err_code {
    ERR_NONE = 0,
    ERR_ARG,       /* a call or a flag is wrong: the user's command must change (exit status 2 in the cli) */
    ERR_SHAPE,     /* shapes disagree */
    ERR_TYPE,      /* element types disagree or are not supported here */
    ERR_FORMAT,    /* bytes from outside are not what their format says */
    ERR_LIMIT,     /* a bound of ours was passed; the text names the bound */
    ERR_MISSING,   /* a file, key, weight or word that must be there is not */
    ERR_IO,        /* the operating system refused; the text has its reason */
    ERR_NOMEM,     /* memory */
    ERR_BACKEND,   /* a library under us failed */
    ERR_STOPPED,   /* the user asked to stop (exit status 130) */
};

struct err {
    enum err_code code;
    char text[1000];
};

/* Sets code and text if e has no cause yet. Always returns false, so that `return err_set(...)` reads well. */
bool err_set(struct err *e, enum err_code code, const char *format, ...) PRINTF_LIKE(3, 4);

/* As err_set, with ": " and strerror(errno) behind the text, and what to do if the disk is full; code ERR_IO. */
bool err_errno(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* Appends "; <text>" to a cause that is there: where we were when it happened. Always returns false. */
bool err_add(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* Out of memory while making `what`. Always returns false. */
bool err_nomem(struct err *e, const char *what);

/* Forgets the cause. */
void err_clear(struct err *e);

#endif
