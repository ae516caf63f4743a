/* What the model tests share: the folders and expected values of tests/reference, and running one graph. */
#ifndef LIMN_TESTS_MODEL_JUDGE_H
#define LIMN_TESTS_MODEL_JUDGE_H

#include "base/json.h"
#include "graph/passes.h"
#include "model/layer/net.h"
#include "test.h"

/* Who computes. The graph goes through graph_fuse where `fused`. */
struct judge_way {
    const char *name;
    const struct backend *backend;
    bool fused;
};
/* ref as it is built, ref fused, cpu fused; ends with a NULL backend. */
const struct judge_way *judge_ways(void);

extern const char *const judge_models[3]; /* "tiny-sd1", ... */

/* tests/data/models/<model>/<part>[/<name>] */
const char *judge_path(const char *model, const char *part, const char *name);
/* What reference scripts computed: tests/data/expected/<model>.safetensors and .json. Fails the test if missing. */
struct weights *judge_expected(const char *model);
json_t *judge_info(const char *model);

/* A tensor as f32; nhwc: an NCHW one with its channels moved last. Free with mem_free. */
float *judge_floats(const struct weights *from, const char *name, bool nhwc, struct shape *shape);
/* Whole numbers as i32. */
int32_t *judge_ids(const struct weights *from, const char *name, struct shape *shape);

/* A copy of a model's folder in a scratch folder of that name, made anew. */
const char *judge_copy_of(const char *model, const char *name);
/* Sets key to the JSON text `value` in folder/file ("" removes it). */
void judge_change(const char *folder, const char *file, const char *key, const char *value);

/* Ends the graph with `out` as its only output, gives the program its weights (those of `params` from their file) and the
 * inputs {name, data}..., NULL; runs it once. The result is f32. Free with mem_free. */
float *judge_run(const struct judge_way *way, struct graph *g, struct params *params, const struct weights *stored,
                 struct value out, ...);

/* Both limits must hold: the largest difference within `max`, |a - b| / |b| within `relative`. */
void judge_near(const float *came, const float *wanted, int64_t count, double max, double relative, const char *format,
                ...) PRINTF_LIKE(6, 7);

#endif
