/* Single files for tests, from the lists of tests/data/single (tests/reference/make_single.py). */
#ifndef LIMN_TESTS_MODEL_SINGLE_H
#define LIMN_TESTS_MODEL_SINGLE_H

#include "base/json.h"
#include "weights/weights.h"

/* The list of a model: {"tensors": [[name, shape]], "parts": {part: [[inner, outer, how]]}}. */
json_t *single_list(const char *model);
/* A file of the list's tensors without values (a hole in the file system, all zeros), in f16. change may rewrite the list's
 * tensors first. Returns its path in the scratch folder. */
const char *single_hollow(const char *model, void (*change)(json_t *tensors));
/* A folder of tests/data/models as a single file of the name `file`, with the tensors' own values. */
const char *single_of_folder(const char *model, const char *file);

/* For `change`: of a list of tensors those whose names begin with a prefix stay, without it. */
void single_keep(json_t *tensors, const char *prefix);

#endif
