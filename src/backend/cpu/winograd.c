#include "backend/cpu/winograd.h"

#include "backend/cpu/kernels/winograd.h"

enum {
    POINTS = WINOGRAD_POINTS,
    TILE = WINOGRAD_TILE,
    LEAST_BLOCK = 16, /* tiles at a time */
    MOST_BLOCK = 64,
    NEAR_FLOATS = 160 << 10, /* of a block of pixels at all points: it stays in the second cache */
    MOST_KEPT = 8 << 20,     /* floats of weights and pixels where both are kept, so that threads share the products evenly */
    APART = 32,              /* points a multiple of 4096 bytes apart would all want the same few lines of a cache */
};

/* One call: from x [n, h, w, c] to y [n, h, w, k], where c and k are the other way round for the gradient of x, and both are given
 * for the gradient of the weights. Sizes are in floats. */
struct layer {
    const struct winograd_kernels *kernels;
    enum op op;
    int64_t n, h, w, c, k;
    int64_t tiles_y, tiles_x, tiles, block, blocks, panels; /* block: tiles at a time */
    int64_t c_room, k_room; /* channels padded to whole vectors, to whole panels of columns */
    /* From a point to the next: of a block of pixels, a panel of weights, a block's results in a panel; a block of results'
     * gradients, the sums that become the weights' gradient. */
    int64_t v_point, u_point, m_point, g_point, s_point;
    int threads;
    bool bf16;                        /* activations */
    bool keeps_weights, keeps_pixels; /* what is spread over the points once for the whole call; else piece by piece, by each thread */
};

static const struct winograd_kernels *const kernels_of[ISA_COUNT] = {
    [ISA_V2] = &winograd_v2,     [ISA_V3] = &winograd_v3,   [ISA_V4] = &winograd_v4,
    [ISA_BF16] = &winograd_bf16, [ISA_AMX] = &winograd_amx,
};

static int64_t in_parts(int64_t x, int64_t part)
{
    return (x + part - 1) / part;
}

static struct layer layer_of(const struct cpu *cpu, const struct op_call *call)
{
    enum op op = call->node->op;
    const struct tensor *x = op == OP_CONV2D_GRAD_W ? &call->in[1] : &call->in[0];
    const struct shape *y = op == OP_CONV2D_GRAD_W ? &call->in[0].shape : &call->out[0].shape;
    struct layer l = {
        .kernels = kernels_of[cpu->isa], .op = op, .n = x->shape.dim[0], .h = x->shape.dim[1], .w = x->shape.dim[2],
        .c = x->shape.dim[3], .k = y->dim[3], .threads = cpu->threads, .bf16 = x->type == DTYPE_BF16,
    };
    l.tiles_y = in_parts(l.h, TILE);
    l.tiles_x = in_parts(l.w, TILE);
    l.tiles = l.n * l.tiles_y * l.tiles_x;
    l.panels = in_parts(l.k, l.kernels->columns);
    l.c_room = in_parts(l.c, l.kernels->lanes) * l.kernels->lanes;
    l.k_room = l.panels * l.kernels->columns;
    int64_t near = NEAR_FLOATS / POINTS / l.c_room / LEAST_BLOCK * LEAST_BLOCK;
    l.block = op == OP_CONV2D_GRAD_W ? MOST_BLOCK : near < LEAST_BLOCK ? LEAST_BLOCK : cpu_least(near, MOST_BLOCK);
    l.blocks = in_parts(l.tiles, l.block);
    l.v_point = l.block * l.c_room + APART;
    l.u_point = l.c * l.kernels->columns + APART;
    l.m_point = l.block * l.kernels->columns + APART;
    l.g_point = l.block * l.k_room + APART;
    l.s_point = l.c_room * l.k_room + APART;
    int64_t weights = l.panels * l.u_point, pixels = l.blocks * l.v_point;
    bool uneven = l.threads > 1 && (weights <= pixels ? l.blocks : l.panels) < 4 * l.threads &&
                  (weights + pixels) * POINTS <= MOST_KEPT;
    l.keeps_weights = uneven || weights <= pixels;
    l.keeps_pixels = uneven || weights > pixels;
    return l;
}

bool winograd_takes(const struct cpu *cpu, const struct op_call *call)
{
    const struct op_attr *attr = &call->node->attr;
    enum op op = call->node->op;
    struct shape w = op == OP_CONV2D_GRAD_W ? call->out[0].shape : call->in[1].shape;
    enum { LEAST_TILES = 16, LEAST_TILES_BF16 = 64, LEAST_CHANNELS = 24, MOST_SUMS = 16 << 20 };
    if (w.dim[2] != 3 || w.dim[3] != 3 || attr->stride != 1 || w.dim[0] < LEAST_CHANNELS || w.dim[1] < LEAST_CHANNELS)
        return false;
    for (int i = 0; i < 4; i++)
        if (attr->pad[i] != 1)
            return false;
    if (op == OP_CONV2D_GRAD_W ? call->out[0].type != DTYPE_F32 : cpu_is_narrow(call->in[1].type))
        return false;
    if (call->in[0].type == DTYPE_BF16 && cpu->isa == ISA_AMX)
        return false;
    struct layer l = layer_of(cpu, call);
    if (op == OP_CONV2D_GRAD_W && l.s_point * POINTS > MOST_SUMS)
        return false;
    /* Where weights are constant the answer does not depend on how many pictures there are: one drawn alone is the same to the bit. */
    return (call->is_constant[1] ? l.tiles_y * l.tiles_x : l.tiles) >= (l.bf16 ? LEAST_TILES_BF16 : LEAST_TILES);
}

/* Where the parts of the scratch lie. */
struct parts {
    int64_t weights, pixels; /* kept ones; or the sums and both blocks of a gradient */
    int64_t gradients;
    int64_t own, own_results, own_taps, own_each; /* of each thread: from where on, and in it */
    int64_t zeros, end;
};

static struct parts parts_of(const struct layer *l)
{
    struct parts p = { 0 };
    if (l->op == OP_CONV2D_GRAD_W) {
        p.pixels = POINTS * l->s_point;
        p.gradients = p.pixels + POINTS * l->v_point;
        p.own = p.gradients + POINTS * l->g_point;
    } else {
        p.pixels = l->keeps_weights ? POINTS * l->panels * l->u_point : 0;
        p.own = p.pixels + (l->keeps_pixels ? POINTS * l->blocks * l->v_point : 0);
        p.own_results = POINTS * (l->keeps_pixels ? l->keeps_weights ? 0 : l->u_point : l->v_point);
        p.own_taps = p.own_results + POINTS * l->m_point;
    }
    p.own_each = p.own_taps + 9 * WINOGRAD_MOST_COLUMNS;
    p.zeros = p.own + l->threads * p.own_each;
    p.end = p.zeros + (l->c_room > l->k_room ? l->c_room : l->k_room);
    return p;
}

void winograd_prepare(const struct cpu *cpu, struct op_call *call)
{
    struct layer l = layer_of(cpu, call);
    call->scratch_bytes = cpu_round((size_t)parts_of(&l).end * sizeof(float));
    if (l.op == OP_CONV2D && call->node->n_in > 2 && call->node->in[2])
        cpu_f32_prepare(call, 2);
}

struct place {
    int64_t n, y, x; /* its first pixel */
};

static struct place place_of(const struct layer *l, int64_t tile)
{
    int64_t of_picture = l->tiles_y * l->tiles_x;
    return (struct place){ tile / of_picture, tile % of_picture / l->tiles_x * TILE, tile % l->tiles_x * TILE };
}

/* Pointers to side x side pixels of c channels from (y, x) on; `none` outside of the image. */
static void pixels_at(const struct layer *l, const void *image, struct place at, int side, int64_t c, const void *none, const void **out)
{
    int64_t bytes = l->bf16 ? 2 : 4;
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            int64_t y = at.y + i, x = at.x + j;
            bool inside = y >= 0 && y < l->h && x >= 0 && x < l->w;
            out[side * i + j] = inside ? (const char *)image + ((at.n * l->h + y) * l->w + x) * c * bytes : none;
        }
}

static int64_t rows_of(const struct layer *l, int64_t block)
{
    return cpu_least(l->block, l->tiles - block * l->block);
}

/* v [POINTS][block, c_room]: one tile's pixels at the points. */
static void spread_tile(const struct layer *l, float *v, const void *x, int64_t block, int64_t row, const void *none)
{
    const void *at[POINTS];
    struct place place = place_of(l, block * l->block + row);
    place.y--;
    place.x--;
    pixels_at(l, x, place, 6, l->c, none, at);
    l->kernels->input[l->bf16](v + row * l->c_room, l->v_point, at, l->c);
}

/* u [POINTS][c, columns]: the values of a panel of weights w [k, c, 3, 3]; for the gradient of x w is [c, k, 3, 3] and its taps are
 * turned round. They are rounded to the activations' type. */
static void spread_weights(const struct cpu *cpu, const struct layer *l, const struct tensor *w, int64_t panel, float *u, float *taps)
{
    enum { CHUNK = 32 }; /* channels at a time */
    bool turned = l->op == OP_CONV2D_GRAD_X;
    int64_t columns = l->kernels->columns, first = panel * columns, count = cpu_least(columns, l->k - first);
    float numbers[CHUNK * WINOGRAD_MOST_COLUMNS * 9];
    uint16_t rounded[CHUNK * 9 > WINOGRAD_MOST_COLUMNS * 9 ? CHUNK * 9 : WINOGRAD_MOST_COLUMNS * 9];
    memset(taps, 0, (size_t)(9 * columns) * sizeof *taps);
    for (int64_t c0 = 0; c0 < l->c; c0 += CHUNK) {
        int64_t channels = cpu_least(CHUNK, l->c - c0), lines = turned ? channels : count, length = 9 * (turned ? count : channels);
        for (int64_t i = 0; i < lines; i++) {
            int64_t at = turned ? ((c0 + i) * l->k + first) * 9 : ((first + i) * l->c + c0) * 9;
            float *line = numbers + i * length;
            if (l->bf16 && w->type != DTYPE_BF16) {
                cpu_convert(cpu, rounded, DTYPE_BF16, cpu_at(w, at), w->type, length);
                cpu_convert(cpu, line, DTYPE_F32, rounded, DTYPE_BF16, length);
            } else {
                cpu_convert(cpu, line, DTYPE_F32, cpu_at(w, at), w->type, length);
            }
        }
        int64_t by_k = turned ? 9 : length, by_c = turned ? length : 9;
        for (int64_t c = 0; c < channels; c++) {
            for (int t = 0; t < 9; t++)
                for (int64_t k = 0; k < count; k++)
                    taps[(turned ? 8 - t : t) * columns + k] = numbers[c * by_c + k * by_k + t];
            l->kernels->weights(u + (c0 + c) * columns, l->u_point, taps);
        }
    }
}

/* What the results of a call go through. */
struct ending {
    const struct winograd_kernels *kernels;
    void *y;
    const void *residual;
    const float *bias;
    void (*act)(void *y, const void *x, int64_t n);
};

/* Results of a block of tiles in a panel of channels. */
static void multiply_out(const struct layer *l, const struct ending *to, const float *v, const float *u, int64_t block, int64_t panel,
                         float *m)
{
    const struct winograd_kernels *k = l->kernels;
    int64_t rows = rows_of(l, block), columns = k->columns, bytes = l->bf16 ? 2 : 4;
    for (int64_t point = 0; point < POINTS; point++)
        for (int64_t row = 0; row < rows; row += k->rows)
            k->product(&(struct winograd_product){
                .m = m + point * l->m_point + row * columns, .a = v + point * l->v_point + row * l->c_room, .b = u + point * l->u_point,
                .m_row = columns, .a_row = l->c_room, .a_term = 1, .b_term = columns, .rows = cpu_least(k->rows, rows - row),
                .terms = l->c });
    for (int64_t row = 0; row < rows; row++) {
        struct place p = place_of(l, block * l->block + row);
        int64_t first = panel * columns, at = (((p.n * l->h + p.y) * l->w + p.x) * l->k + first) * bytes;
        k->output[l->bf16](&(struct winograd_target){
            .y = (char *)to->y + at, .residual = to->residual ? (const char *)to->residual + at : NULL,
            .bias = to->bias ? to->bias + first : NULL, .act = to->act, .row = l->w * l->k, .pixel = l->k,
            .channels = cpu_least(columns, l->k - first), .rows = (int)cpu_least(TILE, l->h - p.y),
            .columns = (int)cpu_least(TILE, l->w - p.x) }, m + row * columns, l->m_point);
    }
}

static void convolve(const struct cpu *cpu, const struct layer *l, const struct op_call *call, const struct ending *to, float *scratch)
{
    struct parts p = parts_of(l);
    const void *x = call->in[0].data;
    const struct tensor *w = &call->in[1];
    float *zeros = scratch + p.zeros;
    bool both = l->keeps_weights && l->keeps_pixels;
    int64_t items = (l->keeps_pixels && !both ? 1 : l->blocks) * (l->keeps_weights && !both ? 1 : l->panels);
    memset(zeros, 0, (size_t)l->c_room * sizeof *zeros);
#pragma omp parallel num_threads(l->threads)
    {
        float *own = scratch + p.own + omp_get_thread_num() * p.own_each, *taps = own + p.own_taps;
        if (l->keeps_weights) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < l->panels; i++)
                spread_weights(cpu, l, w, i, scratch + p.weights + i * POINTS * l->u_point, taps);
        }
        if (l->keeps_pixels) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < l->tiles; i++)
                spread_tile(l, scratch + p.pixels + i / l->block * POINTS * l->v_point, x, i / l->block, i % l->block, zeros);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < items; i++) { /* a block and a panel; or a block and all panels, or a panel and all blocks */
            int64_t block = both ? i / l->panels : i, panel = both ? i % l->panels : i;
            if (!l->keeps_weights)
                spread_weights(cpu, l, w, panel, own, taps);
            for (int64_t row = 0; !l->keeps_pixels && row < rows_of(l, block); row++)
                spread_tile(l, own, x, block, row, zeros);
            for (int64_t b = l->keeps_weights ? block : 0; b < (l->keeps_weights ? block + 1 : l->blocks); b++)
                for (int64_t k = l->keeps_pixels ? panel : 0; k < (l->keeps_pixels ? panel + 1 : l->panels); k++)
                    multiply_out(l, to, l->keeps_pixels ? scratch + p.pixels + b * POINTS * l->v_point : own,
                                 l->keeps_weights ? scratch + p.weights + k * POINTS * l->u_point : own, b, k, own + p.own_results);
        }
    }
}

/* The gradient of the weights: sums over blocks of tiles, one behind the other, at [POINTS][c_room, k_room]. */
static void gather_gradient(const struct layer *l, const struct op_call *call, float *scratch)
{
    const struct winograd_kernels *k = l->kernels;
    struct parts p = parts_of(l);
    const void *dy = call->in[0].data, *x = call->in[1].data;
    float *sums = scratch, *v = scratch + p.pixels, *g = scratch + p.gradients, *zeros = scratch + p.zeros, *dw = call->out[0].data;
    memset(zeros, 0, (size_t)(p.end - p.zeros) * sizeof *zeros);
#pragma omp parallel num_threads(l->threads)
    {
        float *taps = scratch + p.own + omp_get_thread_num() * p.own_each;
        for (int64_t b = 0; b < l->blocks; b++) {
            int64_t rows = rows_of(l, b);
#pragma omp for schedule(static)
            for (int64_t row = 0; row < rows; row++) {
                const void *at[TILE * TILE];
                spread_tile(l, v, x, b, row, zeros);
                pixels_at(l, dy, place_of(l, b * l->block + row), TILE, l->k, zeros, at);
                k->gradient[l->bf16](g + row * l->k_room, l->g_point, at, l->k);
            }
#pragma omp for schedule(static)
            for (int64_t i = 0; i < POINTS * l->panels; i++) {
                int64_t point = i / l->panels, first = i % l->panels * k->columns;
                for (int64_t c = 0; c < l->c; c += k->rows)
                    k->product(&(struct winograd_product){
                        .m = sums + point * l->s_point + c * l->k_room + first, .a = v + point * l->v_point + c,
                        .b = g + point * l->g_point + first, .m_row = l->k_room, .a_row = 1, .a_term = l->c_room,
                        .b_term = l->k_room, .rows = cpu_least(k->rows, l->c - c), .terms = rows, .adds = b > 0 });
            }
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < l->panels * l->c; i++) {
            int64_t panel = i / l->c, c = i % l->c, first = panel * k->columns;
            k->weight_gradient(taps, sums + c * l->k_room + first, l->s_point);
            for (int64_t j = 0; j < k->columns && first + j < l->k; j++)
                for (int t = 0; t < 9; t++)
                    dw[((first + j) * l->c + c) * 9 + t] = taps[t * k->columns + j];
        }
    }
}

void winograd_run(const struct cpu *cpu, const struct op_call *call)
{
    struct layer l = layer_of(cpu, call);
    const struct op_node *node = call->node;
    struct ending to = { .kernels = l.kernels, .y = call->out[0].data };
    char *rest = (char *)call->scratch + cpu_round((size_t)parts_of(&l).end * sizeof(float));
    if (l.op == OP_CONV2D_GRAD_W) {
        gather_gradient(&l, call, call->scratch);
        return;
    }
    if (l.op == OP_CONV2D) {
        if (node->n_in > 2 && node->in[2])
            to.bias = cpu_f32_input(cpu, call, 2, &rest);
        to.residual = node->n_in > 3 && node->in[3] ? call->in[3].data : NULL;
        to.act = cpu->kernels->elementwise->unary[0][node->attr.fn];
    }
    convolve(cpu, &l, call, &to, call->scratch);
}
