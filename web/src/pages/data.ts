// Data: sets of pictures are folders of the input folder. Add pictures, look through them, write captions, leave bad ones out with
// their reason; the program's own nodes do the long work as jobs.

import { get, nodeTable, pictureAddress, post, upload } from "../api";
import { fill, h } from "../dom";
import { nodeForm, showJob } from "../parts/form";
import { toolsOf } from "../parts/inputs";
import { complain } from "../parts/shell";
import { t } from "../words";

type Set = { name: string; pictures: number; excluded: number };
type Entry = { file_name: string; text: string; excluded: string; width: number; height: number };
const PAGE = 60;

export function dataPage(root: HTMLElement): { show(): void } {
    const sets = h("div", { className: "stack" }), inside = h("div", { className: "stack" }), work = h("div", { className: "stack" });
    const name = h("input", { type: "text", "aria-label": t("name"), placeholder: t("name") });
    const files = h("input", { type: "file", multiple: true, accept: "image/*,.txt", "aria-label": t("addPictures"), onchange: () => void add([...(files.files ?? [])]).catch(complain) });
    fill(root, h("div", { className: "columns" },
        h("div", { className: "panel" }, h("h1", null, t("datasets")), sets, h("label", null, t("name"), name), h("label", null, t("addPictures"), files)),
        h("div", { className: "stack" }, inside, work)));
    let now = "";

    async function look(): Promise<void> {
        const all = (await get<{ datasets: Set[] }>("/limn/datasets")).datasets;
        fill(sets, all.length ? all.map(s => h("button", { type: "button", className: "chip", "aria-pressed": String(s.name === now), onclick: () => open(s.name).catch(complain) },
            `${s.name} · ${s.pictures}${s.excluded ? ` (−${s.excluded})` : ""}`)) : h("p", { className: "quiet" }, t("noDatasets")));
    }

    async function open(which: string, offset = 0): Promise<void> {
        now = which;
        name.value = which;
        await look();
        const found = await get<{ total: number; pictures: Entry[] }>(`/limn/datasets/${encodeURIComponent(which)}`, { offset, limit: PAGE });
        const [folder, ...rest] = [which, ""];
        fill(inside, h("h2", null, `${which} · ${found.total}`),
            h("div", { className: "pictures-grid" }, found.pictures.map(p => {
                const parts = p.file_name.split("/"), file = parts.pop()!;
                const caption = h("textarea", { rows: 2, value: p.text, "aria-label": `${t("caption")} ${p.file_name}`, onchange: () => void post(`/limn/datasets/${encodeURIComponent(which)}`, { file_name: p.file_name, text: caption.value }).catch(complain) });
                return h("figure", { style: "margin:0", className: p.excluded ? "quiet" : "" },
                    h("img", { src: pictureAddress({ filename: file, subfolder: [folder, ...parts, ...rest].filter(Boolean).join("/"), type: "input" }, 75), alt: p.text || p.file_name, loading: "lazy", style: `width:100%;aspect-ratio:1;object-fit:contain;opacity:${p.excluded ? 0.4 : 1}` }),
                    p.excluded && h("figcaption", null, `${t("reason")}: ${p.excluded}`), caption);
            })),
            h("div", { className: "row centre" },
                offset > 0 && h("button", { type: "button", onclick: () => open(which, Math.max(0, offset - PAGE)).catch(complain) }, "←"),
                offset + PAGE < found.total && h("button", { type: "button", onclick: () => open(which, offset + PAGE).catch(complain) }, t("next"))));
    }

    async function add(chosen: File[]): Promise<void> {
        const folder = name.value.trim() || "pictures";
        for (const file of chosen) {
            const text = chosen.find(f => f.name === file.name.replace(/\.[^.]+$/, ".txt"));
            if (!file.type.startsWith("image/")) continue;
            const p = await upload(file, file.name, "image", { subfolder: folder });
            if (text) await post(`/limn/datasets/${encodeURIComponent(folder)}`, { file_name: p.filename, text: (await text.text()).trim() });
        }
        files.value = "";
        await open(folder);
    }

    async function tools(): Promise<void> {
        const table = await nodeTable(), result = h("div", null);
        fill(work, toolsOf(table, "dataset").map(n => nodeForm(n, job => { showJob(result, job); if (job.state === "done" && now) void open(now).catch(complain); })), result);
    }
    return { show: () => { look().catch(complain); tools().catch(complain); } };
}
