/* Picture files made ready for a drawing that edits them: what draw_request calls picture and mask.
 *
 * The order of work: alpha; enlarging for outpainting; fitting to the drawing's size; then the mask is grown, and softened.
 * What is drawn is then laid over what was there (edit_paste), because a picture that went through a VAE is never quite itself. */
#ifndef LIMN_GENERATE_EDIT_H
#define LIMN_GENERATE_EDIT_H

#include "image/image.h"

/* What becomes of a picture's alpha. Colours below it are those of the file (as Pillow's convert("RGB"), which diffusers' and
 * ComfyUI's loaders use) but for the second. */
enum edit_alpha {
    EDIT_ALPHA_MASK,   /* what is transparent is drawn anew, unless there is a mask: ComfyUI's LoadImage gives 1 - alpha */
    EDIT_ALPHA_WHITE,  /* the picture is laid over white */
    EDIT_ALPHA_IGNORE, /* it is not looked at */
};

struct edit_options {
    int64_t cell;          /* pixels of a latent cell's side, vae_factor: sides are multiples of it */
    int64_t width, height; /* of the drawing: the picture is resized to it; one of them 0: in proportion; both: its own */
    /* If its own sides are no multiples: true cuts them around the middle, as ComfyUI's VAEEncode; false resizes, as diffusers'
     * VaeImageProcessor (by Lanczos; so is what width and height ask for, in both). */
    bool cut;
    enum edit_alpha alpha;
    int64_t left, top, right, bottom; /* grey pixels added and drawn anew: outpainting, as ComfyUI's ImagePadForOutpaint */
    /* Inside of these edges the mask falls from 1 to 0 as the square of the distance over so many pixels; nothing if twice
     * that does not fit into the picture. */
    int64_t feather;
    int64_t grow;          /* pixels by which the mask grows after it was cut at one half, as VAEEncodeForInpaint's grow_mask_by */
    double blur;           /* standard deviation in pixels of a Gaussian that softens the mask; 0: none */
    bool grey;             /* grey below the mask (before it grows), as VAEEncodeForInpaint; the mask is then cut, too */
};

struct edit {
    struct image picture; /* RGB, as large as the drawing; nothing is greyed in it but what was added */
    float *pixels;        /* [height, width, 3] in -1..1 */
    float *mask;          /* [height, width] 0..1; NULL: there is none */
};

/* picture: 3 or 4 channels. mask: its luminance counts, white is drawn anew; if it is of another size than the picture it is
 * resized to it; NULL: none. An `out` is overwritten, not released; after a failure it holds nothing.
 * errors  ERR_ARG (an option; the text names it), ERR_LIMIT (the picture would be too large), ERR_NOMEM. */
MUST_USE bool edit_prepare(struct edit *out, const struct image *picture, const struct image *mask,
                           const struct edit_options *options, struct err *e);
void edit_release(struct edit *edit);

/* Where the mask is 0 `drawn` gets the picture's very bytes back, where it is between 0 and 1 a mixture. Does nothing without a
 * mask. `drawn` is RGB of the edit's size. */
void edit_paste(struct image *drawn, const struct edit *edit);

#endif
