// Evaluate: two pictures under a slider or side by side with PSNR and SSIM, grids over two settings, the program's own measures and their reports.

import { address, choices, get, modelFacts, nodeTable, pictureAddress, upload, type NodeInfo, type Picture } from "../api";
import { fill, h, kept, settle } from "../dom";
import { AXES, reportOf, valuesOf, type Axis } from "../evaluate-grid";
import { nodeForm, showJob } from "../parts/form";
import { start, type Job } from "../parts/jobs";
import { toolsOf } from "../parts/inputs";
import { complain } from "../parts/shell";
import { flowOf, habitsOf, initial, type Settings } from "../settings";
import { t } from "../words";

const MOST_CELLS = 400;

export function evaluatePage(root: HTMLElement): { show(): void } {
    const pair: (Picture | undefined)[] = [undefined, undefined];
    const compared = h("div", { className: "stack" }), grid = h("div", { className: "wide-table" }), tools = h("div", { className: "stack" }), result = h("div", { className: "stack" }), reports = h("div", { className: "chips" });
    let slide = true, table: Record<string, NodeInfo> = {};

    // --- two pictures ---

    const chooser = (i: 0 | 1): HTMLElement => {
        const take = (file?: File): void => void (file && upload(file, file.name).then(p => { pair[i] = p; return compare(); }).catch(complain));
        const input = h("input", { type: "file", accept: "image/*", onchange: () => take(input.files?.[0]) });
        const label = h("label", { className: "grow drop" }, t(i ? "second" : "first"), input);
        label.addEventListener("dragover", e => e.preventDefault());
        label.addEventListener("drop", e => {
            e.preventDefault();
            take(e.dataTransfer?.files[0]);
        });
        return label;
    };

    async function compare(): Promise<void> {
        const [a, b] = pair;
        if (!a || !b) return;
        const over = h("div", { className: "over", style: "clip-path: inset(0 0 0 50%)" }, h("img", { src: pictureAddress(b), alt: t("second") })), edge = h("span", { className: "edge", style: "left:50%" });
        const range = h("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": t("slider"), oninput: () => {
            over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
            edge.style.left = `${range.value}%`;
        } });
        const view = slide ? h("div", { className: "slider" }, h("img", { src: pictureAddress(a), alt: t("first") }), over, edge, range)
            : h("div", { className: "sides" }, [a, b].map((p, i) => h("figure", null, h("img", { src: pictureAddress(p), alt: t(i ? "second" : "first") }), h("figcaption", null, p.filename))));
        const measures = h("table", { className: "measures" });
        fill(compared, h("div", { className: "chips" }, [true, false].map(s => h("button", { type: "button", className: "chip", "aria-pressed": String(slide === s), onclick: () => { slide = s; void compare().catch(complain); } }, t(s ? "slider" : "sideBySide")))),
            h("div", { className: "compared" }, view, measures));
        const found = await get<Record<string, number | string>>("/limn/similarity", { a: a.filename, a_subfolder: a.subfolder, a_type: a.type, b: b.filename, b_subfolder: b.subfolder, b_type: b.type });
        fill(measures, h("thead", null, h("tr", null, h("th", null, t("measure")), h("th", { className: "number" }, t("value")))),
            h("tbody", null, Object.entries(found).map(([k, v]) => h("tr", null, h("td", null, k.toUpperCase()), h("td", { className: "number" }, typeof v === "number" ? `${v.toFixed(4)}${k === "psnr" ? " dB" : ""}` : v)))));
    }

    // --- a grid over two settings of what Draw has ---

    type Side = { axis(): Axis; values: HTMLInputElement; element: HTMLElement[] };
    function side(label: string, first: string): Side {
        const select = h("select", { onchange: () => choose() }, AXES.map(a => h("option", { value: a.key, selected: a.key === first }, a.label())));
        const values = h("input", { type: "text" }), offers = h("div", { className: "chips" }), more = h("details", null, h("summary", null, t("known")), offers);
        const axis = (): Axis => AXES.find(a => a.key === select.value)!;
        /** The values that fit; those of a list can be clicked. */
        const choose = (): void => {
            const known = axis().offers?.(table) ?? [];
            values.placeholder = axis().example || known.slice(0, 2).join(", ");
            values.value = axis().example || known.slice(0, 2).join(", ");
            more.hidden = !known.length;
            fill(offers, known.slice(0, 60).map(name => h("button", { type: "button", className: "chip inline", onclick: () => {
                const now = values.value.split(",").map(v => v.trim()).filter(Boolean);
                values.value = (now.includes(name) ? now.filter(v => v !== name) : [...now, name]).join(", ");
            } }, name)));
        };
        choose();
        return { axis, values, element: [h("div", { className: "row" }, h("label", { className: "grow" }, label, select), h("label", { className: "grow wide" }, t("values"), values)), more] };
    }
    const across = side(t("across"), "seed"), down = side(t("down"), "cfg");

    let stop = (): void => undefined;
    async function drawGrid(): Promise<void> {
        stop();
        const s: Settings = { ...initial, ...kept<Settings>("draw", initial).get(), count: 1, start: undefined, masked: false };
        if (!s.model) {
            s.model = choices(table, "CheckpointLoaderSimple", "ckpt_name")[0] ?? "";
            const habits = (await modelFacts()).get(s.model);
            if (habits) Object.assign(s, habitsOf(habits));
        }
        const ax = across.axis(), dx = down.axis(), columns = valuesOf(ax, across.values.value), lines = valuesOf(dx, down.values.value);
        if (columns.length * lines.length > MOST_CELLS) throw new Error(`${columns.length} × ${lines.length}: ${t("tooMany")} ${MOST_CELLS}`);
        const pictures: (Picture | undefined)[][] = lines.map(() => columns.map(() => undefined)), jobs: Job[] = [];
        const cells = lines.map(() => columns.map(() => h("td", null, "…")));
        const told = h("p", { className: "quiet", role: "status" });
        const report = h("button", { type: "button", disabled: true, onclick: () => void openReport(s, [ax.label(), columns], [dx.label(), lines], pictures).catch(complain) }, t("openReport"));
        const halt = h("button", { type: "button", onclick: () => stop() }, t("stop"));
        fill(grid, h("div", { className: "row" }, told, h("span", { className: "grow" }), halt, report),
            h("table", null, h("thead", null, h("tr", null, h("th", null, `${dx.label()} ↓ · ${ax.label()} →`), columns.map(a => h("th", null, a)))), h("tbody", null, lines.map((d, y) => h("tr", null, h("th", null, d), cells[y])))));
        let stopped = false, ended = 0;
        const all = columns.length * lines.length;
        const tell = (): void => {
            fill(told, `${ended}/${all} · ${s.words}`);
            halt.hidden = stopped || ended === all;
            report.disabled = !pictures.some(row => row.some(p => p));
        };
        stop = () => {
            stopped = true;
            for (const job of jobs) if (job.state === "waiting" || job.state === "drawing") job.stop().catch(complain);
            tell();
        };
        tell();
        for (const [y, d] of lines.entries())
            for (const [x, a] of columns.entries()) {
                if (stopped) return;
                let over = false;
                const made = await start(flowOf(dx.apply(ax.apply(s, a), d)), job => {
                    const picture = job.pictures[0];
                    if (picture) pictures[y][x] = picture;
                    fill(cells[y][x], picture ? h("a", { href: pictureAddress(picture), target: "_blank" }, h("img", { src: pictureAddress(picture), alt: `${a}, ${d}` })) : job.error || t(job.state));
                    if (!over && job.state !== "waiting" && job.state !== "drawing") {
                        over = true;
                        ended++;
                    }
                    tell();
                });
                jobs.push(made.job);
            }
    }

    async function openReport(...of: Parameters<typeof reportOf>): Promise<void> {
        const there = URL.createObjectURL(await reportOf(...of));
        window.open(there, "_blank");
        setTimeout(() => URL.revokeObjectURL(there), 600000);
    }

    // --- the program's own ---

    async function listReports(): Promise<void> {
        const found = (await get<{ reports: string[] }>("/limn/reports")).reports;
        fill(reports, found.length ? found.map(name => h("a", { className: "chip button", href: address(`/limn/reports/${encodeURIComponent(name)}`), target: "_blank", rel: "noopener" }, name.replace(/\.html$/, ""))) : h("p", { className: "quiet" }, t("noReports")));
    }
    const reportsSoon = settle(500, () => void listReports().catch(complain));

    fill(root, h("div", { className: "stack" },
        h("div", { className: "panel" }, h("h1", null, t("compare")), h("div", { className: "row" }, chooser(0), chooser(1)), compared),
        h("form", { className: "panel", onsubmit: (e: Event) => { e.preventDefault(); drawGrid().catch(complain); } }, h("h2", null, t("grid")), h("p", { className: "quiet" }, t("gridAbout")),
            across.element, down.element, h("div", { className: "row" }, h("button", { type: "submit", className: "main" }, t("gridMake"))), grid),
        h("div", { className: "panel" }, h("h2", null, t("reports")), reports), tools, result));
    return {
        show: () => {
            nodeTable().then(found => {
                table = found;
                fill(tools, toolsOf(found, "evaluate").map(n => nodeForm(n, job => { showJob(result, job); if (job.state === "done") reportsSoon(); })));
            }, complain);
            listReports().catch(complain);
        },
    };
}
