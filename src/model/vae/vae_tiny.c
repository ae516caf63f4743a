/* The tiny autoencoder: a small copy of a VAE that was taught to give the same pictures, for previews and fast decoding.
 *
 * source  TAESD (Bohan, github.com/madebyollin/taesd), as diffusers' AutoencoderTiny: plain convolutions with ReLU in numbered
 *         layers, latents as the denoiser has them (already scaled), pictures in 0..1. */
#include "model/layer/layer.h"
#include "model/vae/vae_internal.h"

static struct value conv(struct net *n, struct value x, const char *at, int64_t out, int64_t stride, bool bias)
{
    static const int64_t pad[4] = { 1, 1, 1, 1 };
    if (!x.id)
        return x;
    int64_t in = shape_last(graph_shape(n->g, x));
    struct value w = net_weight(n, at, "weight", SHAPE(out, in, 3, 3), INIT_FAN_IN, 0.5, true);
    struct value b = bias ? net_weight(n, at, "bias", SHAPE(out), INIT_ZEROS, 0, false) : VALUE_NONE;
    return op_conv2d(n->g, x, w, b, stride, pad);
}

static struct value relu(struct net *n, struct value x)
{
    return op_unary(n->g, x, UNARY_RELU);
}

static struct value block(struct net *n, struct value x, const char *at, int64_t width)
{
    graph_block_begin(n->g);
    struct value h = relu(n, conv(n, x, path_of("%s.conv.0", at).s, width, 1, true));
    h = relu(n, conv(n, h, path_of("%s.conv.2", at).s, width, 1, true));
    h = relu(n, op_add(n->g, conv(n, h, path_of("%s.conv.4", at).s, width, 1, true), x));
    graph_block_end(n->g);
    return h;
}

struct value vae_tiny_encode(struct net *n, const struct vae_config *c, struct value image)
{
    int layer = 0;
    struct value x = op_scale(n->g, image, 0.5, 0.5);
    for (size_t i = 0; i < c->blocks; i++) {
        x = conv(n, x, path_of("encoder.layers.%d", layer++).s, c->width[0], i ? 2 : 1, i == 0);
        for (int64_t j = 0; j < c->encoder_layers[i]; j++)
            x = block(n, x, path_of("encoder.layers.%d", layer++).s, c->width[0]);
    }
    x = conv(n, x, path_of("encoder.layers.%d", layer).s, c->latent_channels, 1, true);
    return op_concat(n->g, x, op_clamp(n->g, x, -30, -30), -1);
}

struct value vae_tiny_decode(struct net *n, const struct vae_config *c, struct value latent)
{
    int layer = 0;
    struct value x = op_scale(n->g, op_unary(n->g, op_scale(n->g, latent, 1.0 / 3, 0), UNARY_TANH), 3, 0);
    x = relu(n, conv(n, x, "decoder.layers.0", c->width[0], 1, true));
    layer = 2; /* the ReLU has a number, too */
    for (size_t i = 0; i < c->blocks; i++) {
        bool last = i + 1 == c->blocks;
        for (int64_t j = 0; j < c->decoder_layers[i]; j++)
            x = block(n, x, path_of("decoder.layers.%d", layer++).s, c->width[0]);
        if (!last) {
            x = op_upsample(n->g, x, 2);
            layer++;
        }
        x = conv(n, x, path_of("decoder.layers.%d", layer++).s, last ? c->out_channels : c->width[0], 1, last);
    }
    return op_scale(n->g, x, 2, -1);
}

/* A list with as many entries as blocks there are; the first list says how many. */
static bool counts(const json_t *j, const char *path, const char *key, int64_t least, int64_t most, size_t blocks, int64_t *out,
                   struct err *e)
{
    size_t count = VAE_MAX_BLOCKS;
    return json_get_ints(j, path, key, least, most, out, &count, e) &&
           (!json_object_get(j, key) || count == blocks ||
            err_set(e, ERR_FORMAT, "%s: \"%s\" has %zu entries, want %zu as \"num_decoder_blocks\"", path, key, count, blocks));
}

bool vae_tiny_config(struct vae_config *c, const json_t *j, const char *path, struct err *e)
{
    int64_t encoder[VAE_MAX_BLOCKS] = { 64, 64, 64, 64 }, decoder[VAE_MAX_BLOCKS] = { 64, 64, 64, 64 }, up = 2;
    const char *act = "relu", *upsample = "nearest";
    /* diffusers' defaults */
    *c = (struct vae_config){ .kind = VAE_TINY, .in_channels = 3, .out_channels = 3, .latent_channels = 4, .blocks = 4,
                              .sample_size = 512, .encoder_layers = { 1, 3, 3, 3 }, .decoder_layers = { 3, 3, 3, 1 },
                              .scaling_factor = 1 };
    if (json_object_get(j, "num_decoder_blocks"))
        c->blocks = json_array_size(json_object_get(j, "num_decoder_blocks"));
    if (c->blocks < 1 || c->blocks > VAE_MAX_BLOCKS)
        return err_set(e, ERR_FORMAT, "%s: \"num_decoder_blocks\" must be a list of 1 to %d", path, VAE_MAX_BLOCKS);
    bool good = json_get_int(j, path, "in_channels", 1, 64, &c->in_channels, e) &&
                json_get_int(j, path, "out_channels", 1, 64, &c->out_channels, e) &&
                json_get_int(j, path, "latent_channels", 1, 256, &c->latent_channels, e) &&
                json_get_int(j, path, "upsampling_scaling_factor", 1, 16, &up, e) &&
                json_get_double(j, path, "scaling_factor", 1e-9, 1e9, &c->scaling_factor, e) &&
                json_get_double(j, path, "shift_factor", -1e9, 1e9, &c->shift_factor, e) &&
                json_get_string(j, path, "act_fn", &act, e) && json_get_string(j, path, "upsample_fn", &upsample, e) &&
                counts(j, path, "num_encoder_blocks", 0, 64, c->blocks, c->encoder_layers, e) &&
                counts(j, path, "num_decoder_blocks", 0, 64, c->blocks, c->decoder_layers, e) &&
                counts(j, path, "encoder_block_out_channels", 1, 1 << 16, c->blocks, encoder, e) &&
                counts(j, path, "decoder_block_out_channels", 1, 1 << 16, c->blocks, decoder, e);
    if (good && (strcmp(act, "relu") || strcmp(upsample, "nearest") || up != 2))
        good = err_set(e, ERR_TYPE, "%s: a tiny autoencoder with \"act_fn\" %s, \"upsample_fn\" %s and \"upsampling_scaling_factor\" "
                       "%lld; relu, nearest and 2 are known", path, act, upsample, (long long)up);
    for (size_t i = 0; good && i < c->blocks; i++)
        if (encoder[i] != decoder[0] || decoder[i] != decoder[0])
            good = err_set(e, ERR_TYPE, "%s: blocks of %lld and %lld channels; tiny autoencoders of one width are known", path,
                           (long long)decoder[0], (long long)(encoder[i] != decoder[0] ? encoder[i] : decoder[i]));
    for (size_t i = 0; i < c->blocks; i++)
        c->width[i] = decoder[0];
    return good;
}
