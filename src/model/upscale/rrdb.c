#include "model/upscale/rrdb.h"

#include <stdio.h>
#include <string.h>

#include "model/layer/layer.h"
#include "weights/name_map.h"

/* How the tensors are called: what a name of the first block's first layer is, and what stands around the names. */
struct naming {
    const char *block, *dense; /* "body.%d", ".rdb%d.conv%d" */
    const char *const ends[4]; /* of conv_first, conv_body, conv_hr, conv_last; NULL: numbered, as in a row of modules */
    const char *up;            /* "conv_up%d" */
};
static const struct naming namings[] = {
    { "body.%d", "%s.rdb%d.conv%d", { "conv_first", "conv_body", "conv_hr", "conv_last" }, "conv_up%d" },
    { "RRDB_trunk.%d", "%s.RDB%d.conv%d", { "conv_first", "trunk_conv", "HRconv", "conv_last" }, "upconv%d" },
    { "model.1.sub.%d", "%s.RDB%d.conv%d.0", { NULL }, "model.%d" },
};
/* What a training wraps around them. */
static const char *const wraps[] = { "", "params_ema.", "params.", "module." };
enum { DENSE = 3, LAYERS = 5 };

/* Names with one number in them; formats are the table's own. */
static struct path numbered(const char *format, int i)
{
    struct path p = { "" };
    const char *at = strstr(format, "%d");
    snprintf(p.s, sizeof p.s, "%.*s%d%s", (int)(at - format), format, i, at + 2);
    return p;
}

static struct path dense_of(const struct naming *m, int block, int dense, int layer)
{
    struct path below = numbered(m->block, block), behind = numbered(strchr(m->dense, '.'), dense);
    return path_of("%s%s", below.s, numbered(behind.s, layer).s);
}

static const struct weight *find(const struct weights *w, const char *wrap, const char *name)
{
    return weights_find(w, path_of("%s%s.weight", wrap, name).s);
}

static bool unknown(const struct weights *w, struct err *e)
{
    static const struct { const char *witness, *what; } others[] = {
        { "body.0.weight", "a compact SRVGGNet" }, { "params.body.0.weight", "a compact SRVGGNet" },
        { "layers.0.residual_group.blocks.0.norm1.weight", "a SwinIR" }, { "params.layers.0.residual_group.blocks.0.norm1.weight", "a SwinIR" },
        { "params_ema.layers.0.residual_group.blocks.0.norm1.weight", "a SwinIR or HAT" }, { "conv_first.weight", "a network of another kind" },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (weights_find(w, others[i].witness))
            return err_set(e, ERR_TYPE, "%s: this looks like %s; of networks that make pictures larger RRDBNet (ESRGAN, Real-ESRGAN) is known",
                           weights_path(w), others[i].what);
    return err_set(e, ERR_TYPE, "%s: none of its %zu tensors are those of a network that makes pictures larger (RRDBNet: ESRGAN, Real-ESRGAN)",
                   weights_path(w), weights_count(w));
}

static bool pair(struct name_map *map, const char *outer, const char *inner, struct err *e)
{
    return name_map_add(map, NAME_WHOLE, outer, inner, e);
}

/* BasicSR's names for all of it. A row of modules is numbered: 0, the trunk in 1, then for each doubling a pair without weights around its
 * convolution, then two more convolutions with an activation between them. */
static bool names_of(struct name_map *map, const struct naming *m, const struct rrdb_config *c, struct err *e)
{
    static const char *const inner[] = { "conv_first", "conv_body", "conv_hr", "conv_last" };
    int blocks = (int)c->blocks, ups = (int)c->ups;
    const struct path row[] = { path_of("model.0"), path_of("model.1.sub.%d", blocks), path_of("model.%d", 3 * ups + 2), path_of("model.%d", 3 * ups + 4) };
    bool good = true;
    for (int i = 0; good && i < 4; i++)
        good = pair(map, m->ends[0] ? m->ends[i] : row[i].s, inner[i], e);
    for (int i = 1; good && i <= ups; i++)
        good = pair(map, numbered(m->up, m->ends[0] ? i : 3 * i).s, path_of("conv_up%d", i).s, e);
    for (int i = 0; good && i < blocks; i++)
        for (int d = 1; good && d <= DENSE; d++)
            for (int k = 1; good && k <= LAYERS; k++)
                good = pair(map, dense_of(m, i, d, k).s, path_of("body.%d.rdb%d.conv%d", i, d, k).s, e);
    return good;
}

static bool sizes_of(struct rrdb_config *c, const struct weights *w, const char *wrap, const struct naming *m, struct err *e)
{
    const struct weight *first = find(w, wrap, m->ends[0] ? m->ends[0] : "model.0"), *dense = find(w, wrap, dense_of(m, 0, 1, 1).s);
    if (!first || first->shape.rank != 4 || dense->shape.rank != 4)
        return err_set(e, ERR_SHAPE, "%s: its first convolution is missing, or is none", weights_path(w));
    *c = (struct rrdb_config){ .width = first->shape.dim[0], .growth = dense->shape.dim[0], .shuffle = 1 };
    while (c->blocks <= RRDB_MOST_BLOCKS && find(w, wrap, dense_of(m, (int)c->blocks, 1, 1).s))
        c->blocks++;
    if (m->ends[0]) {
        while (c->ups <= RRDB_MOST_UPS && find(w, wrap, numbered(m->up, (int)c->ups + 1).s))
            c->ups++;
    } else { /* two of the convolutions behind the trunk are no doublings */
        enum { MOST = 3 * RRDB_MOST_UPS + 5 };
        int behind = 0;
        for (int i = 2; i <= MOST; i++)
            behind += find(w, wrap, path_of("model.%d", i).s) != NULL;
        c->ups = behind - 2;
    }
    while (c->shuffle < 4 && 3 * c->shuffle * c->shuffle < first->shape.dim[1])
        c->shuffle *= 2;
    if (3 * c->shuffle * c->shuffle != first->shape.dim[1] || c->blocks > RRDB_MOST_BLOCKS || c->ups < 0 || c->ups > RRDB_MOST_UPS ||
        (1 << c->ups) < c->shuffle)
        return err_set(e, ERR_TYPE, "%s: %lld channels, %lld blocks and %lld doublings: no RRDBNet that is known here is made so", weights_path(w),
                       (long long)first->shape.dim[1], (long long)c->blocks, (long long)c->ups);
    return true;
}

bool rrdb_file_open(struct rrdb_file *f, const char *path, struct err *e)
{
    *f = (struct rrdb_file){ 0 };
    if (!path_join(f->path, "", path, e) || !(f->all = weights_open(path, e)))
        return false;
    for (size_t k = 0; k < sizeof wraps / sizeof *wraps; k++)
        for (size_t i = 0; i < sizeof namings / sizeof *namings; i++) {
            const struct naming *m = &namings[i];
            struct name_map map;
            if (!find(f->all, wraps[k], dense_of(m, 0, 1, 1).s))
                continue;
            name_map_init(&map);
            bool good = sizes_of(&f->config, f->all, wraps[k], m, e) && names_of(&map, m, &f->config, e) &&
                        (f->weights = name_map_view(&map, f->all, wraps[k], e));
            name_map_release(&map);
            if (!good)
                rrdb_file_release(f);
            return good;
        }
    unknown(f->all, e);
    rrdb_file_release(f);
    return false;
}

void rrdb_file_release(struct rrdb_file *f)
{
    weights_free(f->weights);
    weights_free(f->all);
    *f = (struct rrdb_file){ 0 };
}

int64_t rrdb_scale(const struct rrdb_config *c)
{
    return ((int64_t)1 << c->ups) / c->shuffle;
}

/* Each layer sees all before it. */
static struct value dense_block(struct net *n, const struct rrdb_config *c, struct value x, const char *at)
{
    struct value all = x, y = x;
    for (int k = 1; k <= LAYERS; k++) {
        y = layer_conv(n, all, path_of("%s.conv%d", at, k).s, k < LAYERS ? c->growth : c->width, 3, false);
        if (k < LAYERS)
            all = op_concat(n->g, all, op_unary(n->g, y, UNARY_LEAKY_RELU), -1);
    }
    return op_add(n->g, op_scale(n->g, y, 0.2, 0), x);
}

struct value rrdb(struct net *n, const struct rrdb_config *c, struct value x)
{
    struct value first = layer_conv(n, x, "conv_first", c->width, 3, false), y = first;
    for (int i = 0; i < c->blocks; i++) {
        struct value before = y;
        for (int d = 1; d <= DENSE; d++)
            y = dense_block(n, c, y, path_of("body.%d.rdb%d", i, d).s);
        y = op_add(n->g, op_scale(n->g, y, 0.2, 0), before);
    }
    y = op_add(n->g, layer_conv(n, y, "conv_body", c->width, 3, false), first);
    struct shape s = graph_shape(n->g, y);
    for (int i = 1; i <= c->ups; i++) {
        y = layer_conv_up(n, y, path_of("conv_up%d", i).s, c->width, s.dim[1] << i, s.dim[2] << i);
        y = op_unary(n->g, y, UNARY_LEAKY_RELU);
    }
    y = op_unary(n->g, layer_conv(n, y, "conv_hr", c->width, 3, false), UNARY_LEAKY_RELU);
    return layer_conv(n, y, "conv_last", 3, 3, false);
}
