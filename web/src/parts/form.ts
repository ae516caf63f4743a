// A form made from a node of the table, and the job that it starts: how Data, Train and Evaluate speak with the program.

import { pictureAddress, type InputInfo, type Json, type NodeInfo, type Picture } from "../api";
import { fill, h, kept, seconds } from "../dom";
import { nameOf, t, type Word } from "../words";
import { inputsOf } from "./inputs";
import { start, type Job } from "./jobs";
import { complain } from "./shell";

export type Values = Record<string, Json>;

function field(name: string, info: InputInfo, values: Values): HTMLElement {
    const o = info[1] ?? {}, type = Array.isArray(info[0]) ? "COMBO" : info[0];
    const set = (v: Json): void => void (values[name] = v);
    const about = { title: (o.tooltip as string) ?? "", "data-input": name };
    if (type === "COMBO" && !offered(info).includes(String(values[name]))) delete values[name]; // what was chosen once is not there any more
    values[name] ??= (o.default as Json) ?? (type === "COMBO" ? (offered(info)[0] ?? "") : type === "BOOLEAN" ? false : type === "STRING" ? "" : Number(o.min ?? 0));
    const label = nameOf(name), value = values[name];
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

/** What the form of a node is asked to be. */
export type FormOptions = {
    fixed?: Values;                                       // inputs that are not asked for; looked at when the job starts
    heading?: boolean;                                    // false: its name and help are said elsewhere
    actions?: { label: Word; main?: boolean; values?: Values }[]; // its buttons, and what each sets; one that starts if there are none
};

/** The form of a node all of whose inputs can be typed. What is not asked for by most lies below "more". */
export function nodeForm(info: NodeInfo, changed: (job: Job) => void, options: FormOptions = {}): HTMLElement {
    const fixed = options.fixed ?? {}, actions = options.actions ?? [{ label: "begin", main: true }];
    const store = kept<Values>(`form.${info.name}`, {}), values: Values = { ...store.get() };
    const asked = inputsOf(info).filter(i => !(i.name in fixed) && !actions.some(a => i.name in (a.values ?? {})));
    const main = asked.filter(i => !i.info[1]?.advanced), more = asked.filter(i => i.info[1]?.advanced);
    const go = async (event: Event): Promise<void> => {
        event.preventDefault();
        store.set(values);
        const action = actions[Number((event as SubmitEvent).submitter?.dataset.action ?? 0)];
        try {
            const all: Values = { ...values, ...fixed, ...action.values };
            const known = Object.fromEntries(inputsOf(info).filter(i => all[i.name] !== undefined).map(i => [i.name, all[i.name]]));
            const made = await start({ "1": { class_type: info.name, inputs: known } }, changed);
            changed(made.job);
        } catch (e) {
            complain(e);
        }
    };
    const checks = (all: typeof main): HTMLElement[] => {
        const made = all.map(i => field(i.name, i.info, values)), wide = made.filter(f => f.querySelector("textarea")), boxes = made.filter(f => f.classList.contains("check"));
        return [h("div", { className: "fields" }, made.filter(f => !wide.includes(f) && !boxes.includes(f))), ...wide, h("div", { className: "chips" }, boxes)];
    };
    return h("form", { className: options.heading === false ? "stack" : "panel", onsubmit: go },
        options.heading !== false && [h("h2", null, info.display_name), h("p", { className: "quiet" }, info.description)],
        checks(main),
        more.length > 0 && h("details", null, h("summary", null, t("more")), h("div", { className: "stack" }, checks(more))),
        h("div", { className: "row" }, actions.map((a, i) => h("button", { type: "submit", className: a.main ? "main" : "", "data-action": String(i) }, t(a.label)))));
}

/** How a job of such a form stands, and what it left: pictures and texts. */
export function showJob(place: HTMLElement, job: Job, texts = true): void {
    const busy = job.state === "waiting" || job.state === "drawing";
    fill(place,
        h("p", { className: job.state === "failed" ? "bad" : "quiet" }, t(job.state === "drawing" ? "running" : job.state), job.total ? ` ${job.done}/${job.total}` : "", ` · ${seconds(job.ended - job.began)}`, job.error && `: ${job.error}`),
        busy && h("div", { className: "row" }, h("progress", { className: "grow", "aria-label": t(job.state), ...(job.total ? { max: job.total, value: job.done } : {}) }),
            h("button", { type: "button", onclick: () => job.stop().catch(complain) }, t("stop"))),
        job.preview && h("img", { src: job.preview, alt: "" }),
        texts && job.texts.map(text => h("pre", null, text)),
        job.pictures.length > 0 && h("div", { className: "pictures-grid" }, job.pictures.map((p: Picture) => h("a", { href: pictureAddress(p) }, h("img", { src: pictureAddress(p), alt: "", style: "width:100%" })))));
}
