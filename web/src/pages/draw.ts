// Draw: words and size first, a picture a moment later; all else is folded away below.

import { choices, modelFacts, nodeTable, pictureAddress, post, upload, type ModelFacts, type NodeInfo, type Picture } from "../api";
import { fill, h, kept, seconds } from "../dom";
import { Job, start } from "../parts/jobs";
import { MaskBrush } from "../parts/mask";
import { complain, go, say, type Hand } from "../parts/shell";
import { flowOf, habitsOf, initial, settingsOf, sizeOf, type Settings } from "../settings";
import { settingsTold, tellsSettings, toldBy, type Told } from "../told";
import { t } from "../words";

type Shown = { picture: Picture; settings: Settings };

const saved = kept<Settings>("draw", initial), strip = kept<Shown[]>("drawn", []);
const STRIP = 60;

export function drawPage(root: HTMLElement): { show(hand?: Hand): void } {
    let s: Settings = { ...initial, ...saved.get() };
    let table: Record<string, NodeInfo> = {}, facts = new Map<string, ModelFacts>(), brush: MaskBrush | undefined;
    let job: Job | undefined, shown: Shown | undefined, told: Told | undefined;
    const keep = (): void => saved.set({ ...s, start: undefined, masked: false });

    // --- the form ---

    const words = h("textarea", { id: "words", rows: 3, placeholder: t("wordsExample"), autofocus: true, value: s.words, oninput: () => ((s.words = words.value), keep()) });
    const sizes = h("div", { className: "chips", role: "group", "aria-label": t("size") });
    const number = (label: string, key: "width" | "height" | "count" | "steps" | "cfg", min: number, max: number, step: number): HTMLElement => {
        const input = h("input", { type: "number", min, max, step, "data-key": key, onchange: () => {
            s[key] = Math.min(max, Math.max(min, Number(input.value) || min));
            keep();
            refresh();
        } });
        return h("label", { className: "number" }, label, input);
    };
    const picker = (label: string, key: "model" | "sampler" | "schedule", changed?: () => void): HTMLElement =>
        h("label", null, label, h("select", { "data-key": key, onchange: (e: Event) => {
            s[key] = (e.target as HTMLSelectElement).value;
            changed?.();
            keep();
            refresh();
        } }));
    const negative = h("textarea", { rows: 2, value: s.negative, oninput: () => ((s.negative = negative.value), keep()) });
    const seed = h("input", { type: "number", min: 0, step: 1, onchange: () => ((s.seed = Math.max(0, Math.floor(Number(seed.value) || 0))), keep()) });
    const locked = h("input", { type: "checkbox", checked: s.seedLocked, onchange: () => ((s.seedLocked = locked.checked), keep()) });
    const loras = h("div", { className: "stack" });
    const begin = h("div", { className: "drop" });
    const drawButton = h("button", { className: "main", type: "submit" }, t("draw"));
    const stopButton = h("button", { type: "button", hidden: true, onclick: () => post("/api/interrupt", job ? { prompt_id: job.id } : {}).catch(complain) }, t("stop"));
    const form = h("form", { className: "panel", onsubmit: (e: Event) => { e.preventDefault(); void draw(); } },
        h("label", { htmlFor: "words", className: "first" }, t("words")), words,
        h("div", { className: "first" }, t("size")), sizes,
        h("div", { className: "row" }, drawButton, stopButton),
        h("details", { open: kept("more", false).get(), ontoggle: (e: Event) => kept("more", false).set((e.target as HTMLDetailsElement).open) },
            h("summary", null, t("more")),
            picker(t("model"), "model", takeHabits),
            h("label", null, t("negative"), negative),
            h("div", { className: "row" }, number(t("width"), "width", 8, 8192, 8), number(t("height"), "height", 8, 8192, 8), number(t("pictures"), "count", 1, 64, 1)),
            h("div", { className: "row" }, number(t("steps"), "steps", 1, 1000, 1), number(t("cfg"), "cfg", 0, 100, 0.1)),
            h("div", { className: "row" }, picker(t("sampler"), "sampler"), picker(t("schedule"), "schedule")),
            h("div", { className: "row" }, h("label", { className: "number grow" }, t("seed"), seed), h("label", { className: "check" }, locked, t("seedLock"))),
            h("div", { className: "first" }, t("lora")), loras,
            h("div", { className: "first" }, t("start")), begin));

    // --- the picture ---

    const stage = h("div", { className: "stage", "aria-live": "polite" });
    const history = h("div", { className: "strip", role: "list", "aria-label": t("history") });
    fill(root, h("div", { className: "draw" }, form, h("div", { className: "view" }, stage, h("h2", { className: "quiet" }, t("history")), history)));

    words.addEventListener("keydown", e => {
        if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
            e.preventDefault();
            void draw();
        }
    });
    root.addEventListener("dragover", e => e.preventDefault());
    root.addEventListener("drop", e => {
        e.preventDefault();
        const file = e.dataTransfer?.files[0];
        if (file) void take(file);
    });

    function presets(): [string, number, number][] {
        const f = facts.get(s.model), area = f ? f.width * f.height : 512 * 512, cell = f?.cell ?? 64;
        return [["square", 1], ["portrait", 2 / 3], ["landscape", 3 / 2]].map(([name, ratio]) => [t(name as "square"), ...sizeOf(area, ratio as number, cell)]);
    }

    /** The form shows what s holds. */
    function refresh(): void {
        fill(sizes, presets().map(([name, w, height]) => h("button", {
            type: "button", className: "chip", "aria-pressed": String(s.width === w && s.height === height),
            onclick: () => { [s.width, s.height] = [w, height]; keep(); refresh(); },
        }, h("span", { className: "shape", style: `aspect-ratio:${w}/${height}` }), `${name} ${w}×${height}`)));
        for (const input of form.querySelectorAll<HTMLInputElement>("input[data-key]")) input.value = String(s[input.dataset.key as "width"]);
        const offers = { model: choices(table, "CheckpointLoaderSimple", "ckpt_name"), sampler: choices(table, "KSampler", "sampler_name"), schedule: choices(table, "KSampler", "scheduler") };
        for (const select of form.querySelectorAll<HTMLSelectElement>("select[data-key]")) {
            const key = select.dataset.key as keyof typeof offers;
            fill(select, offers[key].map(o => h("option", { value: o, selected: o === s[key] }, o)));
        }
        [words.value, negative.value, seed.value, locked.checked] = [s.words, s.negative, String(s.seed), s.seedLocked];
        const known = choices(table, "LoraLoader", "lora_name");
        fill(loras,
            s.loras.map((l, i) => h("div", { className: "row" },
                h("select", { "aria-label": t("lora"), onchange: (e: Event) => { l.name = (e.target as HTMLSelectElement).value; keep(); } }, known.map(k => h("option", { value: k, selected: k === l.name }, k))),
                h("input", { type: "number", "aria-label": t("strength"), value: String(l.strength), min: -4, max: 4, step: 0.05, onchange: (e: Event) => { l.strength = Number((e.target as HTMLInputElement).value); keep(); } }),
                h("button", { type: "button", "aria-label": t("loraRemove"), title: t("loraRemove"), onclick: () => { s.loras.splice(i, 1); keep(); refresh(); } }, "×"))),
            h("button", { type: "button", disabled: !known.length, onclick: () => { s.loras.push({ name: known[0], strength: 1 }); keep(); refresh(); } }, t("loraAdd")));
    }

    /** Steps, guidance and size as the model's makers have them. */
    function takeHabits(): void {
        const f = facts.get(s.model);
        if (f) Object.assign(s, habitsOf(f));
    }

    async function load(): Promise<void> {
        [table, facts] = await Promise.all([nodeTable(), modelFacts()]);
        const models = choices(table, "CheckpointLoaderSimple", "ckpt_name");
        if (!models.includes(s.model)) {
            s.model = models[0] ?? "";
            takeHabits();
        }
        s.sampler ||= choices(table, "KSampler", "sampler_name")[0] ?? "";
        s.schedule ||= choices(table, "KSampler", "scheduler")[0] ?? "";
        if (!s.width) [, s.width, s.height] = presets()[0];
        s.cfg ||= 7;
        const known = choices(table, "LoraLoader", "lora_name");
        s.loras = s.loras.filter(l => known.includes(l.name));
        refresh();
    }

    // --- a picture to begin with ---

    function showBegin(): void {
        const choose = h("input", { type: "file", accept: "image/*", "aria-label": t("start"), onchange: () => choose.files?.[0] && void take(choose.files[0]) });
        if (!s.start) return fill(begin, h("p", null, t("startDrop")), choose);
        brush = new MaskBrush(pictureAddress(s.start), () => undefined);
        const strength = h("input", { type: "range", min: "0.05", max: "1", step: "0.05", value: String(s.denoise), oninput: () => { s.denoise = Number(strength.value); shownStrength.value = strength.value; keep(); } });
        const shownStrength = h("output", null, String(s.denoise));
        fill(begin, h("div", { className: "first" }, t("mask")), brush.element,
            h("label", null, h("span", null, t("denoise"), " ", shownStrength), strength),
            h("div", { className: "row" },
                h("button", { type: "button", onclick: () => { s.start = undefined; brush = undefined; showBegin(); } }, t("startRemove")),
                told && h("button", { type: "button", onclick: () => told && takeSettings(told) }, t("settingsTake"))));
    }

    function takeSettings(from: Told): void {
        const found = settingsTold(from, {
            models: choices(table, "CheckpointLoaderSimple", "ckpt_name"), loras: choices(table, "LoraLoader", "lora_name"),
            samplers: choices(table, "KSampler", "sampler_name"), schedules: choices(table, "KSampler", "scheduler"),
        });
        s = { ...s, ...found, seedLocked: true };
        keep();
        refresh();
    }

    /** A picture to begin with, whose settings can be taken if it tells them. */
    async function take(file: File): Promise<void> {
        try {
            const [by, start] = await Promise.all([toldBy(file), upload(file, file.name || "picture.png")]);
            told = tellsSettings(by) ? by : undefined;
            s.start = start;
            form.querySelector("details")!.open = true;
            showBegin();
        } catch (e) {
            complain(e);
        }
    }

    // --- drawing ---

    async function draw(): Promise<void> {
        if (!s.seedLocked) s.seed = Math.floor(Math.random() * 2 ** 48);
        keep();
        refresh();
        try {
            const asked: Settings = { ...s, loras: s.loras.map(l => ({ ...l })), masked: false };
            if (s.start && brush?.painted) {
                asked.start = await upload(await brush.png(), "mask.png", "mask", { original_ref: JSON.stringify(s.start) });
                asked.masked = true;
            }
            shown = undefined;
            const made = await start(flowOf(asked), j => j === job && showJob(j, asked));
            job = made.job;
            showJob(job, asked);
        } catch (e) {
            complain(e);
        }
    }

    function showJob(j: Job, asked: Settings): void {
        const busy = j.state === "waiting" || j.state === "drawing";
        stopButton.hidden = !busy;
        if (busy) {
            const old = stage.querySelector("img");
            const picture = j.preview ? h("img", { src: j.preview, alt: "", className: "preview" }) : old ?? h("div", { className: "wait" });
            fill(stage, picture, h("progress", j.total ? { max: j.total, value: j.done, "aria-label": t("drawing") } : { "aria-label": t("waiting") }),
                h("p", { className: "quiet" }, t(j.state as "waiting"), j.total ? ` ${j.done}/${j.total}` : "", " · ", seconds(Date.now() - j.began)));
            return;
        }
        if (j.state === "failed") say(j.error || t("failed"), "bad");
        if (!j.pictures.length) return fill(stage, h("p", { className: "quiet" }, t(j.state as "failed"), j.error ? `: ${j.error}` : ""));
        const all = j.pictures.map(picture => ({ picture, settings: { ...asked, start: undefined, masked: false } }));
        strip.set([...all, ...strip.get()].slice(0, STRIP));
        showStrip();
        show(all[0], all);
    }

    function show(one: Shown, beside: Shown[] = [one]): void {
        shown = one;
        stopButton.hidden = true;
        fill(stage,
            h("div", { className: beside.length > 1 ? "pictures" : "" }, beside.map(b => h("img", { src: pictureAddress(b.picture), alt: b.settings.words, className: "finished" }))),
            h("p", { className: "quiet" }, `${one.settings.width}×${one.settings.height} · ${t("seed")} ${one.settings.seed} · ${one.settings.steps} ${t("steps")}`),
            h("div", { className: "row centre" },
                h("a", { className: "button", href: pictureAddress(one.picture), download: one.picture.filename }, t("download")),
                h("button", { type: "button", onclick: () => go("flow", { flow: flowOf(one.settings) }) }, t("openFlow")),
                h("button", { type: "button", onclick: () => { s.start = one.picture; told = undefined; form.querySelector("details")!.open = true; showBegin(); } }, t("useAsStart")),
                h("button", { type: "button", onclick: () => { s = { ...s, ...one.settings, seedLocked: true }; keep(); refresh(); } }, t("settingsTake"))));
    }

    function showStrip(): void {
        fill(history, strip.get().map(one => h("button", { type: "button", role: "listitem", className: "thumb", title: one.settings.words, onclick: () => show(one) },
            h("img", { src: pictureAddress(one.picture, 176), alt: one.settings.words || t("history"), loading: "lazy",
                onerror: () => { strip.set(strip.get().filter(x => x.picture.filename !== one.picture.filename)); showStrip(); } }))));
    }

    fill(stage, h("p", { className: "quiet" }, t("empty")));
    showBegin();
    showStrip();
    const ready = load();
    ready.catch(complain);
    return {
        show(hand) {
            if (hand?.flow) {
                s = { ...s, ...settingsOf(hand.flow), seedLocked: true };
                keep();
            }
            if (hand?.told) ready.then(() => takeSettings({ width: 0, height: 0, loras: [], ...hand.told }), complain);
            if (hand?.picture) {
                s.start = hand.picture;
                showBegin();
            }
            if (hand?.file) void take(hand.file);
            nodeTable(true).then(now => { table = now; refresh(); }, complain);
            if (!shown && !job) words.focus();
        },
    };
}
