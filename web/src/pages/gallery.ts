// Gallery: every picture that was drawn, found by words, by any parameter, by likeness; nothing is lost by a wrong click.

import { address, get, post, type Flow } from "../api";
import { fill, h, settle } from "../dom";
import { showLineage } from "../parts/lineage";
import { EndlessGrid } from "../parts/grid";
import { complain, go, say, type Hand } from "../parts/shell";
import { zipOf } from "../parts/zip";
import { t } from "../words";

export type Row = {
    id: number; hash: string; type?: string; width: number; height: number; prompt?: string; negative?: string; model?: string; sampler?: string; schedule?: string; steps?: number;
    cfg?: number; strength?: number; seed?: number | string; created?: number; rating?: number; tags: string[]; collections: string[]; loras: { name: string; scale: number }[]; distance?: number;
};
type Whole = Row & { graph?: string; workflow?: string; parameters?: string }; // JSON texts, as the picture has them
type Name = { name: string; count: number };

const picture = (id: number, small?: number): string => address(`/limn/gallery/${id}/file`, { small });
const fileName = (row: Row): string => `${row.id}-${row.hash.slice(0, 12)}.${row.type ?? "png"}`;

export function galleryPage(root: HTMLElement): { show(hand?: Hand): void } {
    const search = h("input", { type: "search", placeholder: t("searchPictures"), "aria-label": t("search"), oninput: settle(200, () => void again()) });
    const filter = h("input", { type: "text", placeholder: "steps>=20, sampler=euler, rating>=4", "aria-label": t("filter"), onchange: () => void again() });
    const sort = h("select", { "aria-label": t("sort"), onchange: () => void again() },
        (["latest", "oldest", "created", "rating"] as const).map(v => h("option", { value: v }, t(v === "rating" ? "bestRated" : v))));
    const labels = h("div", { className: "chips" }), told = h("p", { className: "quiet", role: "status" });
    const bar = h("div", { className: "row chosen", hidden: true });
    const dialog = h("dialog", { "aria-label": t("gallery"), onclose: () => grid.focus(opened) });
    let ids: number[] = [], asked = 0, opened = 0, chosen = new Set<number>(), marked = -1;
    const rows = new Map<number, Row>();

    const grid = new EndlessGrid({
        make: index => {
            const id = ids[index];
            return h("button", { type: "button", className: "thumb", "data-id": String(id), "aria-pressed": chosen.has(id) ? "true" : undefined, onclick: (e: Event) => click(e as MouseEvent, index) },
                h("span", { className: "tick", "aria-hidden": "true", title: t("choose") }, "✓"));
        },
        show: (cell, index) => {
            const button = cell.firstElementChild!, row = rows.get(ids[index]);
            if (!button.querySelector("img")) button.append(h("img", { src: picture(ids[index], 256), alt: row ? (row.prompt ?? String(row.id)) : String(ids[index]), decoding: "async" }));
            if (row) label(button as HTMLElement, row);
        },
    }, settle(120, () => void name().catch(complain)));

    function label(button: HTMLElement, row: Row): void {
        button.title = row.prompt ?? "";
        button.querySelector("img")!.alt = row.prompt || String(row.id);
    }

    /** What those that are seen were drawn from, for those who cannot see them. */
    async function name(): Promise<void> {
        const seen: number[] = [];
        grid.each((_, index) => { if (!rows.has(ids[index])) seen.push(index); });
        if (!seen.length || !ids.length) return;
        const from = Math.min(...seen), mine = asked;
        const found = similarTo ? [] : (await get<{ pictures: Row[] }>("/limn/gallery", { ...query(), offset: from, limit: Math.min(1000, Math.max(...seen) - from + 1) })).pictures;
        if (mine !== asked) return;
        for (const row of found) rows.set(row.id, row);
        grid.each((cell, index) => {
            const row = rows.get(ids[index]), button = cell.firstElementChild as HTMLElement;
            if (row && button.querySelector("img")) label(button, row);
        });
        if (rows.size > 5000) rows.clear();
    }

    let similarTo = 0;
    const query = (): Record<string, string> => ({ words: search.value, filter: filter.value, sort: sort.value });

    async function again(): Promise<void> {
        const mine = ++asked;
        try {
            const found = similarTo ? (await get<{ pictures: Row[] }>(`/limn/gallery/${similarTo}/similar`)).pictures.map(r => (rows.set(r.id, r), r.id))
                : (await get<{ ids: number[] }>("/limn/gallery/ids", query())).ids;
            if (mine !== asked) return; // somebody typed on
            ids = found;
            chosen = new Set([...chosen].filter(id => ids.includes(id)));
            fill(told, ids.length ? `${ids.length} ${t("pictures").toLowerCase()}` : t("noPictures"),
                similarTo > 0 && [" · ", h("button", { type: "button", className: "chip inline", onclick: () => { similarTo = 0; void again(); } }, `${t("similar")} ×`)]);
            grid.fill(ids.length);
            showChosen();
        } catch (e) {
            complain(e);
        }
    }

    async function names(): Promise<void> {
        const [tags, collections] = await Promise.all((["tag", "collection"] as const).map(c => get<{ names: Name[] }>(`/limn/gallery/names/${c}`)));
        const chip = (column: string) => (n: Name): HTMLElement => {
            const word = `${column}=${n.name}`, on = filter.value.split(",").map(x => x.trim()).includes(word);
            return h("button", { type: "button", className: "chip", "aria-pressed": String(on), onclick: () => {
                const parts = filter.value.split(",").map(x => x.trim()).filter(Boolean);
                filter.value = (on ? parts.filter(p => p !== word) : [...parts, word]).join(", ");
                void again();
                void names().catch(complain);
            } }, column === "collection" ? "▣ " : "# ", `${n.name} ${n.count}`);
        };
        fill(labels, collections.names.map(chip("collection")), tags.names.map(chip("tag")));
    }

    // --- several at once ---

    function click(e: MouseEvent, index: number): void {
        const onTick = (e.target as HTMLElement).classList.contains("tick");
        if (!onTick && !e.ctrlKey && !e.metaKey && !e.shiftKey && !chosen.size) return void open(index).catch(complain);
        const range = e.shiftKey && marked >= 0 ? [Math.min(marked, index), Math.max(marked, index)] : [index, index];
        const on = e.shiftKey || !chosen.has(ids[index]);
        for (let i = range[0]; i <= range[1]; i++) if (on) chosen.add(ids[i]); else chosen.delete(ids[i]);
        marked = index;
        showChosen();
    }

    function showChosen(): void {
        grid.each((cell, index) => {
            const button = cell.firstElementChild!;
            if (chosen.has(ids[index])) button.setAttribute("aria-pressed", "true");
            else button.removeAttribute("aria-pressed");
        });
        bar.hidden = !chosen.size;
        if (!chosen.size) return;
        const all = [...chosen];
        const ask = (label: "tags" | "collections"): HTMLElement => {
            const input = h("input", { type: "text", placeholder: t(label), "aria-label": t(label), onchange: () => {
                const add = input.value.split(",").map(x => x.trim()).filter(Boolean);
                if (add.length) post("/limn/gallery/tag", { ids: all, add, collections: label === "collections" }).then(() => { input.value = ""; say(`${add.join(", ")}: ${all.length}`); return names(); }).catch(complain);
            } });
            return h("div", { className: "grow" }, input);
        };
        fill(bar, h("strong", null, `${all.length} ${t("chosen")}`), ask("tags"), ask("collections"),
            stars(0, n => post("/limn/gallery/rate", { ids: all, rating: n }).then(() => say(`${"★".repeat(n) || "–"}: ${all.length}`), complain)),
            h("button", { type: "button", onclick: () => void save(all).catch(complain) }, t("export")),
            h("button", { type: "button", className: "bad", onclick: () => void discard(all).catch(complain) }, t("remove")),
            h("button", { type: "button", onclick: () => { chosen.clear(); showChosen(); } }, t("chooseNone")));
    }

    /** Files and metadata.jsonl, as a data set has it, in one zip. */
    async function save(which: number[]): Promise<void> {
        const files = [], lines: string[] = [];
        for (const id of which) {
            const row = await get<Whole>(`/limn/gallery/${id}`), file = fileName(row);
            files.push({ name: file, bytes: new Uint8Array(await (await fetch(picture(id))).arrayBuffer()) });
            lines.push(JSON.stringify({ file_name: file, text: row.prompt ?? "", ...row }));
        }
        files.push({ name: "metadata.jsonl", bytes: new TextEncoder().encode(lines.join("\n") + "\n") });
        const link = h("a", { href: URL.createObjectURL(zipOf(files)), download: "pictures.zip" });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }

    async function discard(which: number[]): Promise<void> {
        const { batch } = await post<{ batch: number }>("/limn/gallery/delete", { ids: which });
        chosen.clear();
        if (dialog.open) dialog.close();
        await again();
        say(`${t("removed")} (${which.length})`, "note", { label: t("undo"), run: () => void post("/limn/gallery/undo", { batch }).then(again, complain) });
    }

    function stars(now: number, rate: (n: number) => unknown): HTMLElement {
        const place = h("div", { className: "stars", role: "group", "aria-label": t("rating") });
        const show = (n: number): void => fill(place, [1, 2, 3, 4, 5].map(i => h("button", { type: "button", "aria-label": `${t("rating")} ${i}`, "aria-pressed": String(i <= n), onclick: () => {
            const next = i === n ? i - 1 : i;
            show(next);
            rate(next);
        } }, i <= n ? "★" : "☆")));
        show(now);
        return place;
    }

    // --- one picture ---

    async function open(index: number): Promise<void> {
        opened = index;
        await show(ids[index]);
    }

    async function show(id: number): Promise<void> {
        const row = await get<Whole>(`/limn/gallery/${id}`);
        const graph = row.graph ? (JSON.parse(row.graph) as Flow) : undefined, workflow: unknown = row.workflow && JSON.parse(row.workflow);
        const facts: [string, unknown][] = [
            [t("model"), row.model], [t("negative"), row.negative], [t("seed"), row.seed], [t("steps"), row.steps], [t("cfg"), row.cfg], [t("sampler"), row.sampler], [t("schedule"), row.schedule],
            [t("denoise"), row.strength], [t("size"), `${row.width}×${row.height}`], [t("lora"), row.loras.map(l => `${l.name}:${l.scale}`).join(", ")], [t("time"), row.created && new Date(row.created).toLocaleString()],
        ];
        const labelInput = (label: "tags" | "collections"): HTMLElement => {
            const input = h("input", { type: "text", value: row[label].join(", "), onchange: () => {
                const now = input.value.split(",").map(x => x.trim()).filter(Boolean);
                post("/limn/gallery/tag", { ids: [id], add: now.filter(x => !row[label].includes(x)), remove: row[label].filter(x => !now.includes(x)), collections: label === "collections" })
                    .then(() => { row[label] = now; void names().catch(complain); }, complain);
            } });
            return h("label", null, t(label), input);
        };
        const lineage = h("details", { ontoggle: () => { if (lineage.open && lineage.childElementCount === 1) showLineage(String(id), lineage, other => void show(other).catch(complain)).catch(complain); } }, h("summary", null, t("lineage")));
        const step = (by: number): void => { if (ids[opened + by] !== undefined) open(opened + by).catch(complain); };
        fill(dialog, h("div", { className: "detail" },
            h("a", { href: picture(id), target: "_blank" }, h("img", { src: picture(id), alt: row.prompt ?? "" })),
            h("div", { className: "stack" },
                h("div", { className: "row" }, h("button", { type: "button", "aria-label": t("before"), onclick: () => step(-1) }, "←"), h("button", { type: "button", "aria-label": t("next"), onclick: () => step(1) }, "→"),
                    h("span", { className: "grow" }), h("button", { type: "button", onclick: () => dialog.close() }, t("close"))),
                h("p", null, row.prompt),
                h("dl", null, facts.filter(f => f[1] !== undefined && f[1] !== null && f[1] !== "").map(([name, value]) => [h("dt", null, name), h("dd", null, String(value))])),
                stars(row.rating ?? 0, n => post("/limn/gallery/rate", { ids: [id], rating: n }).catch(complain)),
                labelInput("tags"), labelInput("collections"), lineage,
                h("div", { className: "row" },
                    h("button", { type: "button", onclick: () => { dialog.close(); go("draw", graph ? { flow: graph } : { told: row }); } }, t("again")),
                    graph && h("button", { type: "button", onclick: () => { dialog.close(); go("flow", { flow: graph, workflow }); } }, t("openFlow")),
                    h("button", { type: "button", onclick: () => { similarTo = id; dialog.close(); void again(); } }, t("similar")),
                    h("a", { className: "button", href: picture(id), download: fileName(row) }, t("download")),
                    h("button", { type: "button", className: "bad", onclick: () => discard([id]).catch(complain) }, t("remove"))))));
        if (!dialog.open) dialog.showModal();
    }
    dialog.addEventListener("keydown", e => {
        const by = e.key === "ArrowLeft" ? -1 : e.key === "ArrowRight" ? 1 : 0;
        if (by && !(e.target instanceof HTMLInputElement) && ids[opened + by] !== undefined) open(opened + by).catch(complain);
    });
    grid.element.addEventListener("keydown", e => {
        const at = ids.indexOf(Number((e.target as HTMLElement).dataset.id)), by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.across, ArrowDown: grid.across }[e.key];
        if (at < 0) return;
        if (by !== undefined && ids[at + by] !== undefined) {
            e.preventDefault();
            grid.focus(at + by);
        } else if (e.key === "Delete") void discard(chosen.size ? [...chosen] : [ids[at]]).catch(complain);
        else if (e.key === "x") click(new MouseEvent("click", { ctrlKey: true }), at);
    });

    fill(root, h("div", { className: "stack" }, h("div", { className: "row" }, h("div", { className: "grow" }, search), h("div", { className: "grow" }, filter), h("div", null, sort)), labels, told, bar, grid.element, dialog));
    return {
        show: hand => {
            void again();
            names().catch(complain);
            if (hand?.lineage) {
                fill(dialog, h("div", { className: "row" }, h("span", { className: "grow" }), h("button", { type: "button", onclick: () => dialog.close() }, t("close"))));
                showLineage(hand.lineage, dialog, other => void show(other).catch(complain)).then(() => dialog.showModal(), complain);
            }
        },
    };
}
