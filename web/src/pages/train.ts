// Train: a form for each kind of training, its memory and time before the start, the live curve and samples of every run, runs side by side;
// a run is stopped, and goes on where it was stopped.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { address, get, nodeTable, post, socket, type Flow, type NodeInfo } from "../api";
import { fill, h, seconds, settle } from "../dom";
import { nodeForm, showJob } from "../parts/form";
import { inputsOf, toolsOf } from "../parts/inputs";
import { start, type Job } from "../parts/jobs";
import { complain, say, type Hand } from "../parts/shell";
import { t } from "../words";

type Run = { name: string; kind: string; step: number; steps: number; changed?: number };
type Whole = Run & { metrics: Record<string, number>[]; samples: string[]; settings: Record<string, unknown> };
type Listed = { jobs: { id: string; status: string }[] };

const COLOURS = ["#5b4bd6", "#d6663b", "#1b8f6a", "#b8338f", "#8a7a00", "#2f7fd0"];
const LOOK_MS = 4000, FRESH_MS = 20000, SAMPLES = 24;

/** The inputs of the node of a flow that trains under a name. */
function trainingOf(flow: Flow): { name: string; id: string } | undefined {
    for (const [id, node] of Object.entries(flow)) if (/^Train.*Run$/.test(node.class_type) && typeof node.inputs.name === "string" && !node.inputs.plan) return { name: node.inputs.name, id };
    return undefined;
}

export function trainPage(root: HTMLElement): { show(hand?: Hand): void; hide(): void } {
    const kinds = h("div", { className: "chips", role: "group", "aria-label": t("kind") }), form = h("div", null), now = h("div", { className: "stack" });
    const runs = h("div", null), inside = h("div", { className: "stack" });
    fill(root, h("div", { className: "draw" }, h("div", { className: "stack" }, kinds, form), h("div", { className: "view" }, now, h("h2", null, t("runs")), runs, inside)));
    let opened: string[] = [], timer = 0, busy = new Map<string, string>(), kind = "", drawn = "", plots: uPlot[] = [];

    // --- the form, its plan, the start ---

    async function forms(): Promise<void> {
        const nodes = toolsOf(await nodeTable(true), "training");
        if (!nodes.some(n => n.name === kind)) kind = nodes.find(n => n.name === "TrainLoraRun")?.name ?? nodes[0]?.name ?? "";
        fill(kinds, nodes.length > 1 && nodes.map(n => h("button", { type: "button", className: "chip", "aria-pressed": String(n.name === kind), onclick: () => { kind = n.name; forms().catch(complain); } }, n.display_name)));
        const chosen = nodes.find(n => n.name === kind);
        if (chosen) fill(form, formOf(chosen));
    }

    function formOf(info: NodeInfo): HTMLElement {
        const plans = inputsOf(info).some(i => i.name === "plan");
        return nodeForm(info, job => (job.flow["1"].inputs.plan === true ? showPlan(job) : showStarted(job)), plans
            ? { actions: [{ label: "planFirst", main: true, values: { plan: true } }, { label: "begin", values: { plan: false } }] } : {});
    }

    function showPlan(job: Job): void {
        const place = h("div", { className: "panel plan" }), how = h("div", null);
        showJob(how, job, false);
        const rows = job.texts.join("\n").split("\n").map(l => /^(.+?)\s+([\d.]+ (?:MiB|GiB|s).*)$/.exec(l)).filter(m => m !== null);
        fill(place, h("h2", null, t("plan")), how,
            rows.length > 0 && h("table", null, h("tbody", null, rows.map(m => h("tr", null, h("th", null, m[1]), h("td", { className: "number" }, m[2]))))),
            job.state === "done" && h("div", { className: "row" }, h("button", { type: "button", className: "main", onclick: () => void begin(job.flow).catch(complain) }, t("begin"))));
        fill(now, place);
    }

    async function begin(flow: Flow): Promise<void> {
        const real = structuredClone(flow);
        if ("plan" in real["1"].inputs) real["1"].inputs.plan = false;
        const made = await start(real, showStarted);
        showStarted(made.job);
    }

    const lookSoon = settle(300, () => void look().catch(complain));
    function showStarted(job: Job): void {
        const how = h("div", { className: "panel" });
        showJob(how, job);
        fill(now, how);
        const own = trainingOf(job.flow);
        if (own && !opened.includes(own.name)) opened = [own.name];
        lookSoon();
    }

    // --- runs ---

    /** Which runs are going on, by the jobs that run and wait. */
    async function findBusy(): Promise<void> {
        const listed = (await get<Listed>("/api/jobs", { status: "in_progress,pending", limit: 50 })).jobs, found = new Map<string, string>();
        for (const job of listed) {
            const whole = await get<{ workflow?: { prompt?: Flow } }>(`/api/jobs/${job.id}`).catch(() => undefined);
            const own = whole?.workflow?.prompt && trainingOf(whole.workflow.prompt);
            if (own) found.set(own.name, job.id);
        }
        busy = found;
    }

    const isOver = (r: Run): boolean => r.steps > 0 && r.step >= r.steps;
    function stateOf(r: Run): string {
        if (busy.has(r.name)) return t("running");
        if (isOver(r)) return t("done");
        return r.changed && Date.now() - r.changed < FRESH_MS ? t("running") : t("cancelled");
    }

    /** The job that was started here goes on: its node takes up the checkpoint of its name. */
    async function goOn(name: string): Promise<void> {
        const history = await get<Record<string, { prompt: [number, string, Flow] }>>("/api/history", { max_items: 500 });
        const flow = Object.values(history).map(x => x.prompt[2]).reverse().find(f => trainingOf(f)?.name === name);
        if (flow) await begin(flow);
        else say(t("noStart"), "bad");
    }

    async function look(): Promise<void> {
        const [all] = await Promise.all([get<{ runs: Run[] }>("/limn/runs").then(r => r.runs), findBusy()]);
        all.sort((a, b) => (b.changed ?? 0) - (a.changed ?? 0));
        opened = opened.filter(n => all.some(r => r.name === n) || busy.has(n));
        fill(runs, all.length ? h("table", { className: "runs" }, h("thead", null, h("tr", null, h("th", null, t("name")), h("th", null, t("kind")), h("th", { className: "number" }, t("step")), h("th", null), h("th", null))),
            h("tbody", null, all.map(r => h("tr", null,
                h("td", null, h("label", { className: "check" },
                    h("input", { type: "checkbox", checked: opened.includes(r.name), "aria-label": `${t("compare")} ${r.name}`, onchange: (e: Event) => {
                        opened = (e.target as HTMLInputElement).checked ? [...opened, r.name] : opened.filter(n => n !== r.name);
                        drawn = "";
                        show().catch(complain);
                    } }),
                    h("button", { type: "button", className: "plain", onclick: () => { opened = [r.name]; drawn = ""; look().catch(complain); } }, r.name))),
                h("td", null, r.kind), h("td", { className: "number" }, r.steps ? `${r.step}/${r.steps}` : String(r.step)), h("td", null, stateOf(r)),
                h("td", null, busy.has(r.name) ? h("button", { type: "button", onclick: () => post(`/api/jobs/${busy.get(r.name)}/cancel`).then(lookSoon, complain) }, t("stop"))
                    : !isOver(r) && h("button", { type: "button", onclick: () => goOn(r.name).catch(complain) }, t("resume"))))))) : h("p", { className: "quiet" }, t("noRuns")));
        await show();
    }

    // --- what is open: curves together, samples, what differs ---

    async function show(): Promise<void> {
        const names = [...opened], wholes = (await Promise.all(names.map(n => get<Whole>(`/limn/runs/${encodeURIComponent(n)}`).catch(() => undefined)))).filter(w => w !== undefined);
        const state = JSON.stringify(wholes.map(w => [w.name, w.metrics.length, w.samples.length]));
        if (state === drawn || names.join() !== opened.join()) return;
        drawn = state;
        for (const p of plots) p.destroy();
        plots = [];
        if (!wholes.length) return fill(inside);
        const loss = h("div", { className: "curve" }), facts = h("div", null);
        fill(inside, h("h3", null, wholes.map(w => w.name).join(" · ")), loss, facts,
            wholes.map(w => samplesOf(w)), wholes.length > 1 ? differences(wholes) : h("details", null, h("summary", null, t("settings")), settingsTable(wholes)));
        fill(facts, wholes.map((w, i) => {
            const last = w.metrics.at(-1) ?? {}, pace = last.seconds && last.step ? last.seconds / last.step : 0;
            const left = pace && !isOver(w) ? ` · ${t("left")} ${seconds(1000 * pace * (w.steps - w.step))}` : "";
            return h("p", { className: "quiet" }, h("span", { className: "dot", style: `background:${COLOURS[i % COLOURS.length]}` }), ` ${w.name}: `,
                ["step", "loss", "held_out", "rate", "pictures_per_second"].filter(k => typeof last[k] === "number").map(k => `${k.replaceAll("_", " ")} ${Number(last[k].toPrecision(4))}`).join(" · "), left);
        }));
        plot(loss, wholes);
    }

    function plot(place: HTMLElement, wholes: Whole[]): void {
        const series: uPlot.Series[] = [{ label: t("step") }], tables: uPlot.AlignedData[] = [];
        const add = (w: Whole, key: string, label: string, more: Partial<uPlot.Series>): void => {
            const points = w.metrics.filter(m => typeof m[key] === "number");
            if (points.length < 2) return;
            series.push({ label, spanGaps: true, ...more });
            tables.push([points.map(m => m.step), points.map(m => m[key])]);
        };
        wholes.forEach((w, i) => {
            const colour = COLOURS[i % COLOURS.length], about = wholes.length > 1 ? `${w.name} ` : "", smooth = smoothed(w);
            add(w, "loss", `${about}${t("loss")}`, { stroke: colour + "55", width: 1, points: { show: false } });
            add({ ...w, metrics: smooth }, "smooth", `${about}${t("mean")}`, { stroke: colour, width: 2, points: { show: false } });
            add(w, "held_out", `${about}${t("heldOut")}`, { stroke: colour, width: 2, dash: [6, 4] });
        });
        if (!tables.length) return;
        const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--quiet"), line = style.getPropertyValue("--line");
        const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
        plots.push(new uPlot({ width: Math.max(280, place.clientWidth), height: 280, scales: { x: { time: false } }, axes: [axis, axis], series }, uPlot.join(tables), place));
    }

    /** The running mean of the loss over a twentieth of the run. */
    function smoothed(w: Whole): Record<string, number>[] {
        const points = w.metrics.filter(m => typeof m.loss === "number"), share = 1 / Math.max(1, points.length / 20);
        let mean = points[0]?.loss ?? 0;
        return points.map(m => ({ step: m.step, smooth: (mean += share * (m.loss - mean)) }));
    }

    function samplesOf(w: Whole): HTMLElement | null {
        if (!w.samples.length) return null;
        const picture = (s: string): string => address(`/limn/runs/${encodeURIComponent(w.name)}/file`, { name: s });
        const stepOf = (s: string): string => String(Number(/(\d+)\D*$/.exec(s)?.[1] ?? 0));
        return h("section", null, h("h4", null, `${t("samples")} · ${w.name}`),
            h("div", { className: "samples" }, w.samples.slice(-SAMPLES).reverse().map(s => h("figure", null, h("a", { href: picture(s), target: "_blank" }, h("img", { src: picture(s), alt: `${t("step")} ${stepOf(s)}`, loading: "lazy" })), h("figcaption", null, `${t("step")} ${stepOf(s)}`)))));
    }

    const told = (v: unknown): string => (v === null || v === undefined ? "–" : typeof v === "object" ? JSON.stringify(v) : String(v));
    function settingsTable(wholes: Whole[], keys = Object.keys(wholes[0].settings)): HTMLElement {
        return h("div", { className: "wide-table" }, h("table", null,
            wholes.length > 1 && h("thead", null, h("tr", null, h("th", null), wholes.map(w => h("th", null, w.name)))),
            h("tbody", null, keys.map(k => h("tr", null, h("th", null, k.replaceAll("_", " ")), wholes.map(w => h("td", null, told(w.settings[k]))))))));
    }
    function differences(wholes: Whole[]): HTMLElement {
        const keys = [...new Set(wholes.flatMap(w => Object.keys(w.settings)))].filter(k => k !== "output" && new Set(wholes.map(w => told(w.settings[k]))).size > 1);
        return h("section", null, h("h4", null, t("differences")), keys.length ? settingsTable(wholes, keys) : h("p", { className: "quiet" }, t("noDifferences")));
    }

    socket.listen(m => (m.type === "execution_start" || m.type === "execution_success" || m.type === "execution_interrupted") && !root.hidden && lookSoon());
    return {
        show: hand => {
            if (hand?.run) [opened, drawn] = [[hand.run], ""];
            forms().catch(complain);
            look().catch(complain);
            clearInterval(timer);
            timer = window.setInterval(() => look().catch(() => undefined), LOOK_MS);
        },
        hide: () => clearInterval(timer),
    };
}
