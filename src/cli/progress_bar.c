#include "cli/progress_bar.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/plain.h"

static const double REDRAW_S = 0.1, PLAIN_S = 10;
enum { BAR_MOST = 40, BAR_LEAST = 8 };

static bool locale_is_utf8(void)
{
    const char *names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "UTF-8") || strcasestr(value, "utf8");
    }
    return false;
}

void progress_bar_init(struct progress_bar *bar, bool quiet)
{
    *bar = (struct progress_bar){ .out = quiet ? NULL : stderr, .now = clock_seconds };
    const char *term = getenv("TERM");
    struct winsize size = { 0 };
    bar->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    bar->columns =
        bar->terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    bar->utf8 = locale_is_utf8();
    bar->last = bar->now();
}

/* 75 s -> "1:15", 3725 s -> "1:02:05". */
static void time_text(char out[24], double seconds)
{
    long s = seconds < 3.6e8 ? lround(seconds) : 360000000;
    if (s >= 3600)
        snprintf(out, 24, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 24, "%ld:%02ld", s / 60, s % 60);
}

/* "12/20  3.41 it/s  0:02 left  812 MB" */
static void facts_text(char *out, size_t bytes, const struct progress_bar *bar)
{
    char count[48], speed[32] = "", left[40] = "", memory[32] = "", time[24];
    bool ended = bar->total > 0 && bar->done >= bar->total;
    if (bar->total > 0)
        snprintf(count, sizeof count, "%ld/%ld", bar->done, bar->total);
    else
        snprintf(count, sizeof count, "%ld", bar->done);
    double each = bar->seconds_each;
    if (ended && bar->done > bar->begun_done) /* the whole work's mean counts at its end */
        each = (bar->last - bar->begun) / (double)(bar->done - bar->begun_done);
    if (each > 0)
        snprintf(speed, sizeof speed, each < 1 ? "  %.3g it/s" : "  %.3g s/it", each < 1 ? 1 / each : each);
    if (ended) {
        time_text(time, bar->last - bar->begun);
        snprintf(left, sizeof left, "  in %s", time);
    } else if (each > 0 && bar->total > 0) {
        time_text(time, each * (double)(bar->total - bar->done));
        snprintf(left, sizeof left, "  %s left", time);
    }
    double rss = (double)mem_rss() / (1 << 20);
    if (rss > 0)
        snprintf(memory, sizeof memory, rss < 10240 ? "  %.0f MiB" : "  %.1f GiB",
                 rss < 10240 ? rss : rss / 1024);
    snprintf(out, bytes, "%s%s%s%s%s%s", count, speed, left, memory, bar->note[0] ? "  " : "", bar->note);
}

static void draw_bar(const struct progress_bar *bar, int cells)
{
    double part = bar->total > 0 ? (double)bar->done / (double)bar->total : 0;
    int full = (int)(fmin(fmax(part, 0), 1) * cells);
    for (int i = 0; i < cells; i++)
        fputs(bar->utf8 ? i < full ? "\xE2\x94\x81" : "\xE2\x94\x80" : i < full ? "#" : "-", bar->out);
}

static void show(struct progress_bar *bar, double now)
{
    char facts[256];
    facts_text(facts, sizeof facts, bar);
    bar->shown = now;
    bar->shown_done = bar->done;
    if (!bar->terminal) {
        fprintf(bar->out, "%s  %s\n", bar->what, facts);
        fflush(bar->out);
        return;
    }
    /* one column stays free: a full line would wrap on some terminals */
    int room = bar->columns - 1 - (int)strlen(bar->what) - 4;
    int cells = bar->total > 0 ? room - (int)strlen(facts) : 0;
    cells = cells > BAR_MOST ? BAR_MOST : cells;
    fprintf(bar->out, "\r%s  ", bar->what);
    if (cells >= BAR_LEAST) {
        draw_bar(bar, cells);
        fputs("  ", bar->out);
    }
    size_t cut = strlen(facts);
    for (cut = room < 0             ? 0
               : cut < (size_t)room ? cut
                                    : (size_t)room;
         cut > 0 && (facts[cut] & 0xC0) == 0x80; cut--)
        ; /* a note is cut between characters, not inside one */
    fprintf(bar->out, "%.*s\033[K", (int)cut, facts);
    fflush(bar->out);
    bar->open = true;
}

static void on_step(void *self, const char *what, long done, long total, const char *note)
{
    struct progress_bar *bar = self;
    if (!bar->out)
        return;
    double now = bar->now();
    bool fresh =
        strncmp(bar->what, what, sizeof bar->what - 1) != 0 || total != bar->total || done < bar->done;
    bool more = !fresh && done > bar->done;
    if (fresh) {
        progress_bar_end(bar);
        plain_line(bar->what, sizeof bar->what, what);
        /* a first call with 1 done began when the work before it ended; resumed work begins where it is */
        bar->begun_done = done == 1 ? 0 : done;
        bar->begun = done == 1 ? bar->last : now;
        bar->seconds_each = done == 1 ? now - bar->last : 0;
        bar->shown_done = bar->begun_done;
        bar->shown = bar->terminal ? -INFINITY : bar->begun;
    } else if (more) {
        /* an exponential mean over about the last 20 steps, a plain mean before that */
        double each = (now - bar->last) / (double)(done - bar->done);
        double weight = fmax(0.05, (double)(done - bar->done) / (double)(done - bar->begun_done));
        bar->seconds_each += weight * (each - bar->seconds_each);
    }
    if (more || fresh)
        bar->last = now;
    bar->done = done;
    bar->total = total;
    plain_line(bar->note, sizeof bar->note, note);
    bool ended = total > 0 && done >= total;
    bool due = bar->terminal
                   ? now - bar->shown >= REDRAW_S
                   : now - bar->shown >= PLAIN_S ||
                         (total > 0 && (done - bar->shown_done) * 10 >= total && now - bar->shown >= 1);
    bool ends_now = ended && (fresh || more);
    if ((due && !ended) || ends_now)
        show(bar, now);
    if (ended)
        progress_bar_end(bar);
}

static void on_line(void *self, const char *text)
{
    struct progress_bar *bar = self;
    char plain[2000];
    if (!bar->out)
        return;
    bool open = bar->open;
    if (open)
        fputs("\r\033[K", bar->out);
    fprintf(bar->out, "%s\n", plain_line(plain, sizeof plain, text));
    bar->open = false;
    if (open)
        show(bar, bar->now());
    fflush(bar->out);
}

struct progress progress_bar_steps(struct progress_bar *bar)
{
    return (struct progress){ on_step, on_line, bar };
}

void progress_bar_end(struct progress_bar *bar)
{
    if (!bar->out || !bar->open)
        return;
    fputs("\n", bar->out);
    fflush(bar->out);
    bar->open = false;
}
