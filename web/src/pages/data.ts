// Data: sets of pictures are folders of the input folder. Pictures and zip files go in, are looked through, cleaned with each one's reason,
// captioned, cropped, held beside their doubles. What takes long is a job of the program's own nodes; all of it can be undone.

import { get, post } from "../api";
import { captionsView } from "../data/captions";
import { cleanView, doublesView } from "../data/clean";
import { cropsView } from "../data/crops";
import { lookView } from "../data/look";
import type { DataSet } from "../data/set";
import { fill, h } from "../dom";
import { complain, say } from "../parts/shell";
import { t, type Word } from "../words";

type Listed = { name: string; pictures: number; excluded: number };
const VIEWS = { look: lookView, clean: cleanView, doubles: doublesView, captions: captionsView, crops: cropsView };
type View = keyof typeof VIEWS;
const LABELS: Record<View, Word> = { look: "lookThrough", clean: "clean", doubles: "doubles", captions: "captions", crops: "crops" };
const AT_ONCE = 20; // files in one request

export function dataPage(root: HTMLElement): { show(): void } {
    const sets = h("div", { className: "stack" }), inside = h("div", { className: "stack" });
    const name = h("input", { type: "text", placeholder: t("newSet"), "aria-label": t("newSet") });
    const files = h("input", { type: "file", multiple: true, accept: "image/*,.txt,.caption,.zip", onchange: () => void add([...(files.files ?? [])]).catch(complain) });
    const progress = h("progress", { hidden: true, "aria-label": t("addPictures") });
    const drop = h("div", { className: "drop" }, h("p", null, t("dropFiles")), h("label", null, t("addPictures"), files), progress);
    fill(root, h("div", { className: "columns" },
        h("div", { className: "panel" }, h("h1", null, t("datasets")), sets, h("label", null, t("name"), name), drop),
        inside));
    let now = "", view: View = "look";

    root.addEventListener("dragover", e => e.preventDefault());
    root.addEventListener("drop", e => {
        e.preventDefault();
        void add([...(e.dataTransfer?.files ?? [])]).catch(complain);
    });

    async function list(): Promise<Listed[]> {
        const all = (await get<{ datasets: Listed[] }>("/limn/datasets")).datasets;
        fill(sets, all.length ? all.map(s => h("button", { type: "button", className: "chip", "aria-pressed": String(s.name === now), onclick: () => open(s.name).catch(complain) },
            h("span", { className: "grow" }, s.name), h("span", { className: "quiet" }, `${s.pictures - s.excluded}`, s.excluded ? ` + ${s.excluded} ${t("leftOut")}` : "")))
            : h("p", { className: "quiet" }, t("noDatasets")));
        return all;
    }

    async function open(which: string): Promise<void> {
        now = name.value = which;
        await list();
        const body = h("div", { className: "stack" });
        const address = `/limn/datasets/${encodeURIComponent(which)}`;
        let last: Promise<unknown> = Promise.resolve();
        const set: DataSet = {
            name: which,
            ask: (path, query) => get(address + path, query),
            // one change after another: a list is changed by one at a time
            change: (path, b) => {
                const next = last.then(() => post(address + path, b));
                last = next.catch(() => undefined);
                return next as Promise<never>;
            },
            changed: () => void list().catch(complain),
        };
        const tabs = h("div", { className: "chips", role: "group", "aria-label": which });
        const show = (v: View): void => {
            view = v;
            fill(tabs, (Object.keys(VIEWS) as View[]).map(k => h("button", { type: "button", className: "chip", "aria-pressed": String(k === v), "data-view": k, onclick: () => show(k) }, t(LABELS[k]))));
            fill(body);
            VIEWS[v](body, set).catch(complain);
        };
        fill(inside, h("h2", null, which), tabs, body);
        show(view);
    }

    async function add(chosen: File[]): Promise<void> {
        if (!chosen.length) return;
        const folder = name.value.trim() || "pictures";
        const of = (f: File): string => f.name.replace(/\.[^.]+$/, "");
        // a picture and its words go together
        chosen.sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0));
        const counts = { taken: 0, there: 0, reasons: [] as { file: string; reason: string }[] };
        progress.hidden = false;
        progress.max = chosen.length;
        try {
            for (let i = 0; i < chosen.length; ) {
                progress.value = i;
                let end = Math.min(i + AT_ONCE, chosen.length);
                while (end < chosen.length && of(chosen[end]) === of(chosen[end - 1])) end++;
                const form = new FormData();
                for (const file of chosen.slice(i, end)) form.append("file", file, file.name);
                const said = await post<typeof counts>(`/limn/datasets/${encodeURIComponent(folder)}/files`, form);
                counts.taken += said.taken;
                counts.there += said.there;
                counts.reasons.push(...said.reasons);
                i = end;
            }
        } finally {
            progress.hidden = true;
            files.value = "";
        }
        const told = `${folder}: ${counts.taken} ${t("added")}` + (counts.there ? `, ${counts.there} ${t("thereBefore")}` : "");
        if (counts.reasons.length) say([told, ...counts.reasons.slice(0, 8).map(r => `${r.file}: ${r.reason}`)].join("\n"), "bad");
        else say(told);
        view = "look";
        await open(folder);
    }

    return {
        show: () => {
            list().then(all => { if (!now && all.length) return open(all[0].name); }).catch(complain);
        },
    };
}
