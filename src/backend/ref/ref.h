/* The reference backend: every op in plain C and double arithmetic. Slow, and the judge of the others. */
#ifndef LIMN_BACKEND_REF_REF_H
#define LIMN_BACKEND_REF_REF_H

#include "graph/backend.h"

/* One for the whole process; nothing to free. It can do every op whose arrays are of floating types (f32, f64, f16,
 * bf16; inputs also the 8-bit floats), with ids i32. Its scratch is 8 bytes for each element of an op's arrays. */
const struct backend *backend_ref(void);

#endif
