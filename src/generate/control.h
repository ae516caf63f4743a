/* ControlNets in a drawing: what a picture says of the shape of things. */
#ifndef LIMN_GENERATE_CONTROL_H
#define LIMN_GENERATE_CONTROL_H

#include "model/family/control_file.h"

enum { CONTROL_MOST = 8 };

/* An open ControlNet, which several may hold; counted, by one thread. */
struct control_net {
    int holders;
    struct control_file file;
};
/* errors  those of control_file_open. NULL then. */
MUST_USE struct control_net *control_net_open(const char *path, struct err *e);
struct control_net *control_net_keep(struct control_net *c);
void control_net_drop(struct control_net *c); /* accepts NULL */

/* One ControlNet in a drawing. */
struct draw_control {
    struct control_net *net;
    /* [n, h, w, 3] in 0..1. Where it is not as large as the drawing it is resized: with sampler "model" stretched by Lanczos in 8 bits, as
     * diffusers does; otherwise cut to the drawing's proportions around its middle, nearest-exact, as ComfyUI. A batch takes them in turn. */
    float *picture;
    int64_t picture_n, picture_h, picture_w;
    double strength;   /* of what it says: 1 as it was trained, 0 nothing */
    double start, end; /* the part of the run that it counts in: 0 and 1, the whole */
    const char *picture_name; /* of its file, for the record only; NULL: unknown */
};

#endif
