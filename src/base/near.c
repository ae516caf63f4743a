#include "base/near.h"

#include <string.h>

/* Edit distance with exchanged neighbours (Damerau 1964), for words under 64 bytes; '_' and '-' are the same. */
static int distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int n = (int)strlen(a), m = (int)strlen(b), d[3][MOST + 1];
    if (n > MOST || m > MOST)
        return MOST;
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = d[i % 3], *above = d[(i + 2) % 3], *two_above = d[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            char x = a[i - 1] == '_' ? '-' : a[i - 1], y = b[j - 1] == '_' ? '-' : b[j - 1];
            int best = above[j - 1] + (x != y);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two_above[j - 2] + 1 < best)
                best = two_above[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[n % 3][m];
}

const char *text_nearest(const char *typed, const char *(*name_of)(const void *names, int index), const void *names)
{
    return text_nearest_within(typed, (int)strlen(typed) / 3 + 1, name_of, names); /* a third of the letters may be wrong */
}

const char *text_nearest_within(const char *typed, int most, const char *(*name_of)(const void *names, int index), const void *names)
{
    const char *best = NULL, *name;
    int near = most + 1;
    for (int i = 0; (name = name_of(names, i)); i++) {
        int d = distance(typed, name);
        size_t length = strlen(typed);
        if (length >= 3 && strncmp(typed, name, length) == 0)
            d = 0; /* an unfinished name */
        if (d < near) {
            near = d;
            best = name;
        }
    }
    return best;
}
