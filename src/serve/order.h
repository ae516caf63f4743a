/* An order for pictures as simple APIs ask for it (OpenAI's, A1111's): words and numbers become a flow, the flow a job like any other, and the
 * caller waits for its pictures. */
#ifndef LIMN_SERVE_ORDER_H
#define LIMN_SERVE_ORDER_H

#include "serve/http.h"

enum { ORDER_MOST = 16, ORDER_NAME_BYTES = 256 };

struct order {
    const char *words, *negative;     /* negative NULL: none */
    const char *model;                /* a name as GET /models/checkpoints has it, or its beginning; NULL or "": the first */
    const char *sampler, *schedule;   /* ComfyUI's names; NULL: euler, normal */
    int64_t width, height, steps, count; /* 0: 512, 512 (or the picture's), 20, 1. Sides become multiples of 8 */
    uint64_t seed;                    /* of the first; the next have one more each */
    double cfg, strength;             /* cfg 0: 7; strength: of a drawing over a picture, 1: nothing of it stays */
    char picture[ORDER_NAME_BYTES]; /* what to draw over, as LoadImage takes it ("x.png [temp]"); "": nothing */
    char mask[ORDER_NAME_BYTES];    /* white or (with mask_alpha) transparent is drawn anew; "": everything */
    bool mask_alpha;
};

/* A seed that nobody else has, below 2^32. */
uint64_t order_seed(void);

/* Keeps the bytes of a picture (checked to be one) in the temporary folder; its name for `picture` or `mask`. */
MUST_USE bool order_put(struct exchange *x, const void *data, size_t bytes, char name[ORDER_NAME_BYTES], struct err *e);
/* The same of base64, with or without "data:...;base64," before it. */
MUST_USE bool order_put_base64(struct exchange *x, const char *text, char name[ORDER_NAME_BYTES], struct err *e);

/* The job is in the queue and has ended: paths of its pictures in the order of seeds. Free with drawn_release. */
struct drawn {
    char (*paths)[4096];
    json_t *files; /* [{"filename", "subfolder", "type"}, ...] */
    size_t count;
};
/* Puts it into the queue and waits. False with e set: ERR_ARG where the flow is refused (the text says what is wrong), ERR_STOPPED if
 * the job was cancelled or the server ends, ERR_BACKEND where it failed. */
MUST_USE bool order_make(struct exchange *x, const struct order *d, struct drawn *out, struct err *e);
void drawn_release(struct drawn *d);

/* The model that is meant where nothing is said: the first that CheckpointLoaderSimple offers, limn-emoji if it is there. "" if there is none. */
MUST_USE bool order_default_model(struct exchange *x, char out[ORDER_NAME_BYTES], struct err *e);

#endif
