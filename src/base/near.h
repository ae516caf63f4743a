/* What somebody may have meant. */
#ifndef LIMN_BASE_NEAR_H
#define LIMN_BASE_NEAR_H

/* The name nearest to a mistyped one, or NULL if none is near. name_of(names, i) gives the i-th name, NULL behind the last. */
const char *text_nearest(const char *typed, const char *(*name_of)(const void *names, int index), const void *names);
/* The same with at most so many letters wrong, missing or exchanged; a beginning of a name, from three letters on, is always near. */
const char *text_nearest_within(const char *typed, int most, const char *(*name_of)(const void *names, int index), const void *names);

#endif
