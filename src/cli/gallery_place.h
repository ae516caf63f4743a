/* Where the gallery is: what its commands, generate and worker have in common. */
#ifndef LIMN_CLI_GALLERY_PLACE_H
#define LIMN_CLI_GALLERY_PLACE_H

#include "base/file.h"
#include "cli/commands.h"
#include "store/gallery.h"

/* Members database and gallery_folder (const char *). */
#define OPTION_ROWS_GALLERY(type)                                                                            \
    { "database", 0, OPTION_TEXT, offsetof(type, database), .value = "FILE",                                 \
      .help = "the database of jobs and pictures: a file, or postgresql://...",                              \
      .initial_help = "$LIMN_DATABASE, or limn serve's" },                         \
    { "gallery-folder", 0, OPTION_TEXT, offsetof(type, gallery_folder), .value = "FOLDER",                   \
      .help = "where the gallery's picture files are",                                                       \
      .initial_help = "$LIMN_GALLERY, or the folder gallery beside the database's file" }

struct gallery_place {
    struct store *store;
    char folder[PATH_MAX_BYTES];
};
/* Opens what the two options say; NULL: the environment's, else the usual place. errors  those of store_open, ERR_MISSING without a data
 * folder. */
MUST_USE bool gallery_place_open(struct gallery_place *p, const char *database, const char *gallery_folder, struct err *e);
/* limn serve's folder in the user's data, below which are its database, gallery and folders; ERR_MISSING without a data folder. */
MUST_USE bool gallery_place_base(char *out, struct err *e);
void gallery_place_close(struct gallery_place *p);

#endif
