// Evaluate: two pictures under a slider or side by side with PSNR and SSIM, grids over two settings, and the program's own measures.

import { choices, get, nodeTable, pictureAddress, upload, type Picture } from "../api";
import { fill, h, kept } from "../dom";
import { nodeForm, showJob } from "../parts/form";
import { start, type Job } from "../parts/jobs";
import { toolsOf } from "../parts/inputs";
import { complain } from "../parts/shell";
import { flowOf, initial, type Settings } from "../settings";
import { t, type Word } from "../words";

const AXES = ["seed", "steps", "cfg", "sampler", "schedule", "strength", "words"] as const;
type Axis = (typeof AXES)[number];

export function evaluatePage(root: HTMLElement): { show(): void } {
    const pair: (Picture | undefined)[] = [undefined, undefined];
    const compared = h("div", { className: "stack" }), grid = h("div", { style: "overflow:auto" }), tools = h("div", { className: "stack" }), result = h("div", null);
    let slide = true;

    const chooser = (i: 0 | 1): HTMLElement => {
        const input = h("input", { type: "file", accept: "image/*", onchange: () => input.files?.[0] && void upload(input.files[0], input.files[0].name).then(p => { pair[i] = p; return compare(); }).catch(complain) });
        return h("label", { className: "grow" }, t(i ? "second" : "first"), input);
    };

    async function compare(): Promise<void> {
        const [a, b] = pair;
        if (!a || !b) return;
        const over = h("div", { className: "over", style: "clip-path: inset(0 0 0 50%)" }, h("img", { src: pictureAddress(b), alt: t("second") }));
        const range = h("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": t("slider"), oninput: () => (over.style.clipPath = `inset(0 0 0 ${range.value}%)`) });
        const view = slide ? h("div", { className: "slider" }, h("img", { src: pictureAddress(a), alt: t("first") }), over, range)
            : h("div", { className: "row" }, [a, b].map((p, i) => h("img", { className: "grow", style: "width:48%", src: pictureAddress(p), alt: t(i ? "second" : "first") })));
        const table = h("table", null);
        fill(compared, h("div", { className: "row" }, [true, false].map(s => h("button", { type: "button", className: "chip", "aria-pressed": String(slide === s), onclick: () => { slide = s; void compare().catch(complain); } }, t(s ? "slider" : "sideBySide")))), view, table);
        const query = { a: a.filename, a_subfolder: a.subfolder, a_type: a.type, b: b.filename, b_subfolder: b.subfolder, b_type: b.type };
        const found = await get<Record<string, number | string>>("/limn/similarity", query);
        fill(table, h("thead", null, h("tr", null, h("th", null, t("measure")), h("th", { className: "number" }, t("value")))),
            h("tbody", null, Object.entries(found).map(([k, v]) => h("tr", null, h("td", null, k), h("td", { className: "number" }, typeof v === "number" ? v.toFixed(4) : v)))));
    }

    // --- a grid over two settings of the last drawing ---
    const axis = (first: Axis): [HTMLSelectElement, HTMLInputElement] => [h("select", null, AXES.map(a => h("option", { value: a, selected: a === first }, a === "strength" ? `LoRA ${t("strength")}` : t((a === "words" ? "words" : a) as Word)))), h("input", { type: "text", placeholder: "1, 2, 3" })];
    const [acrossAxis, acrossValues] = axis("seed"), [downAxis, downValues] = axis("cfg");
    acrossValues.value = "1, 2, 3";
    downValues.value = "2, 4, 8";

    const list = (input: HTMLInputElement): string[] => input.value.split(",").map(v => v.trim()).filter(Boolean);
    function applied(s: Settings, which: Axis, value: string): Settings {
        if (which === "strength") return { ...s, loras: s.loras.map(l => ({ ...l, strength: Number(value) })) };
        return { ...s, [which]: which === "sampler" || which === "schedule" ? value : which === "words" ? `${s.words} ${value}` : Number(value) };
    }

    async function drawGrid(): Promise<void> {
        const table = await nodeTable(), base: Settings = { ...initial, ...kept<Settings>("draw", initial).get(), count: 1, start: undefined, masked: false };
        base.model ||= choices(table, "CheckpointLoaderSimple", "ckpt_name")[0] ?? "";
        const across = list(acrossValues), down = list(downValues);
        const cells = down.map(() => across.map(() => h("td", null, "…")));
        fill(grid, h("table", null, h("thead", null, h("tr", null, h("th", null), across.map(a => h("th", null, `${acrossAxis.value} ${a}`)))),
            h("tbody", null, down.map((d, y) => h("tr", null, h("th", null, `${downAxis.value} ${d}`), cells[y])))));
        for (const [y, d] of down.entries())
            for (const [x, a] of across.entries())
                await start(flowOf(applied(applied(base, acrossAxis.value as Axis, a), downAxis.value as Axis, d)), (job: Job) => {
                    const cell = cells[y][x], picture = job.pictures[0];
                    fill(cell, picture ? h("img", { src: pictureAddress(picture), alt: `${a}, ${d}`, style: "max-width:12rem" }) : t(job.state));
                });
    }

    fill(root, h("div", { className: "stack" },
        h("div", { className: "panel" }, h("h1", null, t("compare")), h("div", { className: "row" }, chooser(0), chooser(1)), compared),
        h("form", { className: "panel", onsubmit: (e: Event) => { e.preventDefault(); drawGrid().catch(complain); } }, h("h2", null, t("grid")),
            h("div", { className: "row" }, h("label", { className: "grow" }, t("across"), acrossAxis), h("label", { className: "grow" }, t("values"), acrossValues), h("label", { className: "grow" }, t("down"), downAxis), h("label", { className: "grow" }, t("values"), downValues)),
            h("div", { className: "row" }, h("button", { type: "submit", className: "main" }, t("gridMake"))), grid),
        tools, result));
    return {
        show: () => void nodeTable().then(table => fill(tools, toolsOf(table, "evaluate").map(n => nodeForm(n, job => showJob(result, job)))), complain),
    };
}
