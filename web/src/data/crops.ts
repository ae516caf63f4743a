// Crops: a size or many, which part is kept, seen on each picture before files are made; the originals stay.

import { nodeTable } from "../api";
import { fill, h } from "../dom";
import { nodeForm, showJob, type Values } from "../parts/form";
import type { Job } from "../parts/jobs";
import { complain, say } from "../parts/shell";
import { t } from "../words";
import { pager, pictureOf, type DataSet } from "./set";

type Crop = { file_name: string; width: number; height: number; cut?: [number, number, number, number]; becomes?: [number, number]; left?: "small" | "same" | "broken" };
const PAGE = 12;
/** Of the shapes that people ask for: width to height. */
const SHAPES: [string, number][] = [["1:1", 1], ["2:3", 2 / 3], ["3:2", 3 / 2], ["3:4", 3 / 4], ["4:3", 4 / 3], ["9:16", 9 / 16], ["16:9", 16 / 9]];

export async function cropsView(place: HTMLElement, set: DataSet): Promise<void> {
    const info = (await nodeTable()).CropDataset, result = h("div", { className: "stack" }), how = h("div", null);
    let seen: Job | undefined;
    const form = nodeForm(info, job => {
        showJob(how, job);
        if (job.state !== "done" || seen === job) return;
        seen = job;
        set.changed();
        void look(0).catch(complain);
    }, { heading: false, fixed: { folder: set.name }, actions: [{ label: "makeCrops" }] });
    const input = (name: string): HTMLInputElement => form.querySelector<HTMLInputElement>(`[data-input=${name}] input, [data-input=${name}] select`)!;
    const put = (name: string, value: number): void => {
        input(name).value = String(value);
        input(name).dispatchEvent(new Event("change"));
    };

    async function look(offset: number): Promise<void> {
        const v: Values = Object.fromEntries(["size", "height", "buckets", "part", "trim", "enlarge"].map(n => [n, input(n).type === "checkbox" ? input(n).checked : input(n).value]));
        const found = await set.ask<{ total: number; pictures: Crop[] }>("/crops", {
            size: String(v.size), height: Number(v.height) > 0 ? String(v.height) : undefined, buckets: String(v.buckets), part: String(v.part),
            trim: v.trim ? "true" : undefined, enlarge: v.enlarge ? "true" : undefined, offset, limit: PAGE,
        });
        fill(result, h("div", { className: "figures" }, found.pictures.map(figure)), pager(offset, PAGE, found.total, o => void look(o).catch(complain)));
    }

    function figure(c: Crop): HTMLElement {
        const frame = pictureOf(set, c.file_name, c.file_name);
        if (c.cut) {
            const [x, y, w, height] = c.cut, part = (v: number, of: number): string => `${(100 * v) / of}%`;
            frame.style.aspectRatio = `${c.width}/${c.height}`;
            frame.classList.add("cut");
            frame.append(h("span", { className: "kept", style: `left:${part(x, c.width)};top:${part(y, c.height)};width:${part(w, c.width)};height:${part(height, c.height)}` }));
        }
        return h("figure", null, frame, h("figcaption", { title: c.file_name }, c.file_name.split("/").pop()),
            h("p", { className: "quiet" }, c.width > 0 && `${c.width}×${c.height} `, c.becomes ? `→ ${c.becomes.join("×")}` : t(c.left === "small" ? "tooSmall" : c.left === "same" ? "staysAsIs" : "broken")));
    }

    fill(place, h("div", { className: "panel" }, h("p", { className: "quiet" }, t("cropsAbout")),
        h("div", { className: "chips", role: "group", "aria-label": t("shape") }, SHAPES.map(([name, ratio]) => h("button", { type: "button", className: "chip", onclick: () => {
            const area = Number(input("size").value) * (Number(input("height").value) || Number(input("size").value)), to = (n: number): number => Math.max(8, Math.round(n / 8) * 8);
            put("size", to(Math.sqrt(area * ratio)));
            put("height", to(Math.sqrt(area / ratio)));
            look(0).catch(complain);
        } }, h("span", { className: "shape", style: `aspect-ratio:${ratio}` }), name))),
        form,
        h("div", { className: "row" }, h("button", { type: "button", onclick: () => look(0).catch(complain) }, t("preview")),
            h("button", { type: "button", onclick: () => set.change<{ count: number }>("/undo", { what: "crop" }).then(r => { say(`${r.count} ${t("asBefore")}`); return look(0); }).catch(complain) }, t("undoCrops"))),
        how), result);
    form.addEventListener("change", () => void look(0).catch(complain));
    await look(0);
}
