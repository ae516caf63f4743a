/* One list of cases that judges every op: its shape rule, its values on a backend, its gradient. And what runs a case. */
#ifndef LIMN_TESTS_BACKEND_OP_CASES_H
#define LIMN_TESTS_BACKEND_OP_CASES_H

#include "graph/backend.h"

enum fill {
    FILL_NORMAL,
    FILL_POSITIVE, /* in [0.5, 2): where log, sqrt or a second moment is taken */
    FILL_AWAY,     /* magnitude in [0.25, 2), any sign: away from a kink or a pole at 0 */
    FILL_TIME,     /* whole numbers in [0, 1000) */
};

/* Arrays are written as letter[dimensions]; "-" is an input left out. The letters:
 *   T  an input of the activation type            W  a weight, of the weight type
 *   S  an input of the type of sums (f32, or f64 where T is f64)
 *   H  an input of type f16                       U  a mutable weight of the type of sums, to be updated
 *   Q  a weight of the stored type, if one is given; else the same as W
 *   C  a mutable weight of codes, u8, to be updated
 *   I  i32 ids below `ids`                        P  the STEP_COUNT numbers of an optimizer's step
 * Of outputs the letter only says the type. attr.type and attr.shape are output 0's unless the op has its own. */
struct op_case {
    enum op op;
    const char *name, *in, *out;
    struct op_attr attr;
    enum fill fill;
    int64_t ids;
    bool with_forward; /* a gradient op that wants results of its forward op: see case_build */
    bool no_gradient;  /* although the op has one: an activation inside, or a type that cannot be measured */
};
extern const struct op_case op_cases[];
extern const size_t op_case_count;

struct case_types {
    enum dtype activation, weight;
    bool mutable_; /* weights may not be packed */
    bool copied;   /* the op gets a copy of input 0, which it may write over if its flag says so */
    enum dtype stored; /* a quantised or 8-bit type; DTYPE_F32: none */
};
struct case_text {
    char s[200];
};
/* "conv2d: stride 2, bf16 with f32 mutable weights" */
struct case_text case_text(const struct op_case *c, struct case_types types);

/* A case in a graph. in[i] is VALUE_NONE where left out; letters[i] is '-' then. Failure is in g (graph_ok). */
struct case_values {
    struct value in[OP_MAX_IN], out[OP_MAX_OUT];
    int n_in, n_out;
    char letters[OP_MAX_IN];
};
/* Types f64 with weight f64 make every W an input, so that finite differences can move it. */
struct case_values case_build(const struct op_case *c, struct case_types types, struct graph *g);
/* The shape and type that the case expects of output `slot`. */
void case_expected(const struct op_case *c, int slot, struct case_types types, struct shape *shape, enum dtype *type);

/* The numbers of a case: doubles that the types of `types` hold exactly. */
struct case_data {
    double *in[OP_MAX_IN], *loss; /* loss: one factor per element of output 0 */
    void *stored[OP_MAX_IN];      /* the bytes of a Q in its type */
    int64_t count[OP_MAX_IN], loss_count;
    bool whole[OP_MAX_IN]; /* whole numbers (letter I): no gradient */
};
MUST_USE bool case_data_init(struct case_data *d, const struct op_case *c, struct case_types types, uint64_t seed,
                             struct err *e);
void case_data_release(struct case_data *d);

/* What a run gave: as doubles, in the order of the case's outputs; or d loss / d in[i] at [i], NULL for inputs that
 * have none. */
struct case_result {
    double *v[OP_MAX_IN];
    int64_t count[OP_MAX_IN];
    enum dtype type[OP_MAX_IN];
};
MUST_USE bool case_run(const struct backend *b, const struct op_case *c, struct case_types types,
                       const struct case_data *d, bool gradient, struct case_result *r, struct err *e);
void case_result_release(struct case_result *r);

/* Whether the backend says it can run the case's op (the last one of its graph). */
bool case_can(const struct backend *b, const struct op_case *c, struct case_types types);

/* loss = sum of output 0 times factors, as a function of the inputs: f64, on one backend. */
struct case_loss;
MUST_USE struct case_loss *case_loss_new(const struct backend *b, const struct op_case *c, const struct case_data *d,
                                         struct err *e);
/* Reads d's numbers as they are now. */
MUST_USE bool case_loss_at(struct case_loss *l, double *loss, struct err *e);
void case_loss_free(struct case_loss *l);

/* True if every |came - wanted| <= tolerance * (largest |wanted|) + floor; else prints case, seed, array, index, what came
 * and what was wanted. NaN and infinity must come where they are wanted. */
bool case_near(const char *what, uint64_t seed, int array, const double *came, const double *wanted, int64_t count,
               double tolerance, double floor);

#endif
