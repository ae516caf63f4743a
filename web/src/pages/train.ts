// Train: a form for each kind of training, its plan before the start, the live curve and samples of every run.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { address, get, nodeTable } from "../api";
import { fill, h, seconds } from "../dom";
import { nodeForm, showJob } from "../parts/form";
import { toolsOf } from "../parts/inputs";
import { complain } from "../parts/shell";
import { t } from "../words";

type Run = { name: string; kind: string; step: number; steps: number; running: boolean };
type Whole = Run & { metrics: Record<string, number>[]; samples: string[]; settings: Record<string, unknown> };

export function trainPage(root: HTMLElement): { show(): void; hide(): void } {
    const forms = h("div", { className: "stack" }), runs = h("div", { className: "stack" }), inside = h("div", { className: "stack" }), now = h("div", null);
    fill(root, h("div", { className: "draw" }, forms, h("div", { className: "view" }, now, h("h2", null, t("runs")), runs, inside)));
    let open = "", timer = 0;

    async function table(): Promise<void> {
        const nodes = toolsOf(await nodeTable(), "training");
        fill(forms, nodes.map(n => nodeForm(n, job => showJob(now, job))));
    }

    async function look(): Promise<void> {
        const all = (await get<{ runs: Run[] }>("/limn/runs")).runs;
        fill(runs, all.length ? h("table", null, h("tbody", null, all.map(r => h("tr", null,
            h("td", null, h("button", { type: "button", className: "chip", "aria-pressed": String(open === r.name), onclick: () => { open = r.name; look().catch(complain); } }, r.name)),
            h("td", null, r.kind), h("td", { className: "number" }, `${r.step}/${r.steps}`), h("td", null, r.running ? t("running") : "")))))
            : h("p", { className: "quiet" }, t("noRuns")));
        if (open) await show(open);
    }

    async function show(name: string): Promise<void> {
        const run = await get<Whole>(`/limn/runs/${encodeURIComponent(name)}`);
        const plot = h("div", { className: "curve" });
        const last = run.metrics.at(-1) ?? {};
        fill(inside, h("h3", null, name), plot,
            h("p", { className: "quiet" }, Object.entries(last).map(([k, v]) => `${k} ${typeof v === "number" ? Number(v.toPrecision(4)) : v}`).join(" · ")),
            h("div", { className: "pictures-grid" }, run.samples.slice(-12).map(s => h("img", { src: address(`/limn/runs/${encodeURIComponent(name)}/file`, { name: s }), alt: s, title: s, style: "width:100%" }))),
            h("details", null, h("summary", null, t("more")), h("pre", null, JSON.stringify(run.settings, null, 2))));
        const steps = run.metrics.map(m => m.step), kinds = ["loss", "held_out_loss"].filter(k => run.metrics.some(m => typeof m[k] === "number"));
        const colours = ["#5b4bd6", "#d6663b"];
        if (steps.length > 1 && kinds.length)
            new uPlot({ width: Math.max(300, plot.clientWidth), height: 260, scales: { x: { time: false } }, series: [{ label: t("step") }, ...kinds.map((k, i) => ({ label: k === "loss" ? t("loss") : k, stroke: colours[i], spanGaps: true }))] },
                [steps, ...kinds.map(k => run.metrics.map(m => (typeof m[k] === "number" ? m[k] : null)))] as uPlot.AlignedData, plot);
        const left = run.running && typeof last.seconds_left === "number" ? ` · ${seconds(last.seconds_left * 1000)}` : "";
        if (left) inside.append(h("p", { className: "quiet" }, t("time"), left));
    }

    return {
        show: () => {
            table().catch(complain);
            look().catch(complain);
            clearInterval(timer);
            timer = window.setInterval(() => look().catch(() => undefined), 5000);
        },
        hide: () => clearInterval(timer),
    };
}
