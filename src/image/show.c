/* The picture in the terminal, through chafa. */
#include <chafa.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "image/image.h"

extern char **environ;

static const char *variable(char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; *environment; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return *environment + n + 1;
    return "";
}

static bool speaks_utf8(char *const *environment)
{
    const char *names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (int i = 0; i < 3; i++) {
        const char *value = variable(environment, names[i]);
        if (*value)
            return strcasestr(value, "UTF-8") || strcasestr(value, "utf8");
    }
    return false;
}

/* What the terminal can, the best first. False: nothing. */
static bool choose(ChafaTermInfo *info, ChafaCanvasMode *mode, ChafaPixelMode *pixels)
{
    *pixels = CHAFA_PIXEL_MODE_SYMBOLS;
    *mode = CHAFA_CANVAS_MODE_TRUECOLOR;
    if (chafa_term_info_have_seq(info, CHAFA_TERM_SEQ_BEGIN_KITTY_IMMEDIATE_IMAGE_V1))
        *pixels = CHAFA_PIXEL_MODE_KITTY;
    else if (chafa_term_info_have_seq(info, CHAFA_TERM_SEQ_BEGIN_SIXELS))
        *pixels = CHAFA_PIXEL_MODE_SIXELS;
    else if (chafa_term_info_have_seq(info, CHAFA_TERM_SEQ_SET_COLOR_FGBG_DIRECT))
        *mode = CHAFA_CANVAS_MODE_TRUECOLOR;
    else if (chafa_term_info_have_seq(info, CHAFA_TERM_SEQ_SET_COLOR_FGBG_256))
        *mode = CHAFA_CANVAS_MODE_INDEXED_240;
    else if (chafa_term_info_have_seq(info, CHAFA_TERM_SEQ_SET_COLOR_FGBG_16))
        *mode = CHAFA_CANVAS_MODE_INDEXED_16;
    else
        return false;
    return true;
}

bool image_terminal_text(struct text *out, const struct image *image, char *const *environment, int columns,
                         int rows, int cell_width, int cell_height, struct err *e)
{
    const char *name = variable(environment, "TERM");
    if (!*name || strcmp(name, "dumb") == 0 || columns < 1 || rows < 1)
        return true;
    ChafaTermInfo *info = chafa_term_db_detect(chafa_term_db_get_default(), (gchar **)environment);
    ChafaCanvasMode mode;
    ChafaPixelMode pixels;
    if (!info)
        return true;
    if (!choose(info, &mode, &pixels)) {
        chafa_term_info_unref(info);
        return true;
    }
    bool known = cell_width > 0 && cell_height > 0;
    gint width = columns, height = rows;
    chafa_calc_canvas_geometry(image->width, image->height, &width, &height,
                               known ? (gfloat)cell_width / (gfloat)cell_height : 0.5f, TRUE, FALSE);
    ChafaCanvasConfig *config = chafa_canvas_config_new();
    chafa_canvas_config_set_geometry(config, width > 0 ? width : 1, height > 0 ? height : 1);
    chafa_canvas_config_set_canvas_mode(config, mode);
    chafa_canvas_config_set_pixel_mode(config, pixels);
    if (known)
        chafa_canvas_config_set_cell_geometry(config, cell_width, cell_height);
    ChafaSymbolMap *symbols = chafa_symbol_map_new();
    chafa_symbol_map_add_by_tags(symbols, speaks_utf8(environment)
                                              ? CHAFA_SYMBOL_TAG_BLOCK | CHAFA_SYMBOL_TAG_SPACE
                                              : CHAFA_SYMBOL_TAG_ASCII);
    chafa_canvas_config_set_symbol_map(config, symbols);
    ChafaCanvas *canvas = chafa_canvas_new(config);
    chafa_canvas_draw_all_pixels(canvas,
                                 image->channels == 4 ? CHAFA_PIXEL_RGBA8_UNASSOCIATED : CHAFA_PIXEL_RGB8,
                                 image->pixels, image->width, image->height, image->width * image->channels);
    GString *print = chafa_canvas_print(canvas, info);
    text_add_bytes(out, print->str, print->len);
    text_add(out, "\n");
    g_string_free(print, TRUE);
    chafa_canvas_unref(canvas);
    chafa_symbol_map_unref(symbols);
    chafa_canvas_config_unref(config);
    chafa_term_info_unref(info);
    return text_ok(out, e);
}

bool image_show(const struct image *image, int columns, struct err *e)
{
    FILE *f = isatty(STDOUT_FILENO) ? stdout : isatty(STDERR_FILENO) ? stderr : NULL;
    struct winsize size = { 0 };
    if (!f || ioctl(fileno(f), TIOCGWINSZ, &size) != 0 || size.ws_col < 4 || size.ws_row < 4)
        return true;
    if (columns < 1)
        columns = 60;
    if (columns > size.ws_col)
        columns = size.ws_col;
    struct text text;
    text_init(&text, (size_t)64 << 20);
    bool good = image_terminal_text(&text, image, environ, columns, size.ws_row - 2,
                                    size.ws_xpixel / size.ws_col, size.ws_ypixel / size.ws_row, e);
    if (good && text.length) {
        fwrite(text.s, 1, text.length, f);
        fflush(f);
    }
    text_release(&text);
    return good;
}
