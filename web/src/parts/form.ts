// A form made from a node of the table, and the job that it starts: how Data, Train and Evaluate speak with the program.

import { pictureAddress, type InputInfo, type Json, type NodeInfo, type Picture } from "../api";
import { fill, h, kept, seconds } from "../dom";
import { t } from "../words";
import { inputsOf } from "./inputs";
import { start, type Job } from "./jobs";
import { complain } from "./shell";

type Values = Record<string, Json>;

function field(name: string, info: InputInfo, values: Values): HTMLElement {
    const o = info[1] ?? {}, type = Array.isArray(info[0]) ? "COMBO" : info[0];
    const set = (v: Json): void => void (values[name] = v);
    const about = { title: (o.tooltip as string) ?? "" };
    values[name] ??= (o.default as Json) ?? (type === "COMBO" ? (offered(info)[0] ?? "") : type === "BOOLEAN" ? false : type === "STRING" ? "" : Number(o.min ?? 0));
    const label = name.replaceAll("_", " "), value = values[name];
    if (type === "BOOLEAN") return h("label", { className: "check", ...about }, h("input", { type: "checkbox", checked: Boolean(value), onchange: (e: Event) => set((e.target as HTMLInputElement).checked) }), label);
    if (type === "COMBO") return h("label", about, label, h("select", { onchange: (e: Event) => set((e.target as HTMLSelectElement).value) }, offered(info).map(v => h("option", { value: v, selected: v === value }, v))));
    if (type === "STRING" && o.multiline) return h("label", about, label, h("textarea", { rows: 3, value: String(value), oninput: (e: Event) => set((e.target as HTMLTextAreaElement).value) }));
    if (type === "STRING") return h("label", about, label, h("input", { type: "text", value: String(value), oninput: (e: Event) => set((e.target as HTMLInputElement).value) }));
    return h("label", about, label, h("input", {
        type: "number", value: String(value), min: o.min, max: o.max, step: type === "INT" ? 1 : "any", onchange: (e: Event) => set(Number((e.target as HTMLInputElement).value)),
    }));
}

function offered(info: InputInfo): string[] {
    return Array.isArray(info[0]) ? info[0] : ((info[1]?.options as string[] | undefined) ?? []);
}

/** The form of a node all of whose inputs can be typed. What is not asked for by most lies below "more". */
export function nodeForm(info: NodeInfo, changed: (job: Job) => void): HTMLElement {
    const store = kept<Values>(`form.${info.name}`, {}), values: Values = { ...store.get() };
    const inputs = inputsOf(info), main = inputs.filter(i => !i.info[1]?.advanced), more = inputs.filter(i => i.info[1]?.advanced);
    const go = async (event: Event): Promise<void> => {
        event.preventDefault();
        store.set(values);
        try {
            const known = Object.fromEntries(inputs.map(i => [i.name, values[i.name]]));
            const made = await start({ "1": { class_type: info.name, inputs: known } }, changed);
            changed(made.job);
        } catch (e) {
            complain(e);
        }
    };
    return h("form", { className: "panel", onsubmit: go },
        h("h2", null, info.display_name), h("p", { className: "quiet" }, info.description),
        main.map(i => field(i.name, i.info, values)),
        more.length > 0 && h("details", null, h("summary", null, t("more")), more.map(i => field(i.name, i.info, values))),
        h("div", { className: "row" }, h("button", { type: "submit", className: "main" }, t("begin"))));
}

/** How a job of such a form stands, and what it left: pictures and texts. */
export function showJob(place: HTMLElement, job: Job): void {
    const busy = job.state === "waiting" || job.state === "drawing";
    fill(place,
        h("p", { className: job.state === "failed" ? "" : "quiet" }, t(job.state), job.total ? ` ${job.done}/${job.total}` : "", ` · ${seconds(Date.now() - job.began)}`, job.error && `: ${job.error}`),
        busy && h("progress", job.total ? { max: job.total, value: job.done } : {}),
        job.preview && h("img", { src: job.preview, alt: "" }),
        job.texts.map(text => h("pre", null, text)),
        h("div", { className: "pictures-grid" }, job.pictures.map((p: Picture) => h("a", { href: pictureAddress(p) }, h("img", { src: pictureAddress(p), alt: "", style: "width:100%" })))));
}
