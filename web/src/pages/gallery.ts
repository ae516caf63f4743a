// Gallery: every picture that was drawn, found by words, by any parameter, by likeness; nothing is lost by a wrong click.

import { address, get, post, type Flow } from "../api";
import { fill, h, settle } from "../dom";
import { complain, go, say } from "../parts/shell";
import { t } from "../words";

type Row = {
    id: number; hash: string; width: number; height: number; prompt?: string; negative?: string; model?: string; sampler?: string; schedule?: string; steps?: number; cfg?: number;
    seed?: number | string; created?: number; rating?: number; tags: string[]; collections: string[]; loras: { name: string; scale: number }[]; distance?: number;
};
type Whole = Row & { graph?: string; workflow?: string; parameters?: string }; // JSON texts, as the picture has them
type Name = { name: string; count: number };
const PAGE = 60;

const picture = (row: { id: number }, small = 0): string => address(`/limn/gallery/${row.id}/file`, { small: small || undefined });

export function galleryPage(root: HTMLElement): { show(): void } {
    const search = h("input", { type: "search", placeholder: t("searchPictures"), "aria-label": t("search"), oninput: settle(200, () => void again()) });
    const filter = h("input", { type: "text", placeholder: "steps>=20, sampler=euler, tag=…", "aria-label": t("more"), onchange: () => void again() });
    const tags = h("div", { className: "chips" }), grid = h("div", { className: "pictures-grid" }), end = h("div", { className: "row centre" });
    const dialog = h("dialog", { "aria-label": t("gallery") });
    fill(root, h("div", { className: "stack" }, h("div", { className: "row" }, h("div", { className: "grow" }, search), h("div", { className: "grow" }, filter)), tags, grid, end, dialog));
    let last = 0, asked = 0;

    async function page(): Promise<void> {
        const mine = asked;
        const rows = (await get<{ pictures: Row[] }>("/limn/gallery", { words: search.value, filter: filter.value, before: last || undefined, limit: PAGE })).pictures;
        if (mine !== asked) return; // somebody typed on
        if (!last) fill(grid, rows.length ? [] : h("p", { className: "quiet" }, t("noPictures")));
        show(rows);
        last = rows.at(-1)?.id ?? last;
        fill(end, rows.length === PAGE && h("button", { type: "button", onclick: () => page().catch(complain) }, t("next")));
    }

    function show(rows: Row[]): void {
        grid.append(...rows.map(row => h("button", { type: "button", className: "thumb", title: row.prompt ?? "", onclick: () => open(row.id).catch(complain) },
            h("img", { src: picture(row, 256), alt: row.prompt || String(row.id), loading: "lazy" }))));
    }

    function again(): Promise<void> {
        last = 0;
        asked++;
        return page().catch(complain);
    }

    async function names(): Promise<void> {
        const found = await get<{ names: Name[] }>("/limn/gallery/names/tag");
        fill(tags, found.names.map(n => h("button", { type: "button", className: "chip", onclick: () => { filter.value = `tag=${n.name}`; void again(); } }, `${n.name} ${n.count}`)));
    }

    async function open(id: number): Promise<void> {
        const row = await get<Whole>(`/limn/gallery/${id}`);
        const graph = row.graph ? (JSON.parse(row.graph) as Flow) : undefined, workflow: unknown = row.workflow && JSON.parse(row.workflow);
        const facts: [string, unknown][] = [
            [t("model"), row.model], [t("negative"), row.negative], [t("seed"), row.seed], [t("steps"), row.steps], [t("cfg"), row.cfg], [t("sampler"), row.sampler], [t("schedule"), row.schedule],
            [t("size"), `${row.width}×${row.height}`], [t("lora"), row.loras.map(l => `${l.name}:${l.scale}`).join(", ")], [t("time"), row.created && new Date(row.created).toLocaleString()],
        ];
        const tagInput = h("input", { type: "text", value: row.tags.join(", "), onchange: () => {
            const now = tagInput.value.split(",").map(x => x.trim()).filter(Boolean);
            post("/limn/gallery/tag", { ids: [id], add: now.filter(x => !row.tags.includes(x)), remove: row.tags.filter(x => !now.includes(x)) }).then(() => { row.tags = now; void names(); }, complain);
        } });
        const rate = h("select", { onchange: () => void post("/limn/gallery/rate", { ids: [id], rating: Number(rate.value) }).catch(complain) },
            [0, 1, 2, 3, 4, 5].map(n => h("option", { value: String(n), selected: n === (row.rating ?? 0) }, n ? "★".repeat(n) : "–")));
        const lineage = h("details", { ontoggle: () => { if (lineage.open && lineage.childElementCount === 1) void showLineage(id, lineage).catch(complain); } }, h("summary", null, t("lineage")));
        fill(dialog, h("div", { className: "detail" },
            h("img", { src: picture(row), alt: row.prompt ?? "" }),
            h("div", { className: "stack" },
                h("p", null, row.prompt),
                h("dl", null, facts.filter(f => f[1] !== undefined && f[1] !== null && f[1] !== "").map(([name, value]) => [h("dt", null, name), h("dd", null, String(value))])),
                h("label", null, t("tags"), tagInput), h("label", null, t("rating"), rate), lineage,
                h("div", { className: "row" },
                    graph && h("button", { type: "button", onclick: () => { dialog.close(); go("draw", { flow: graph }); } }, t("again")),
                    graph && h("button", { type: "button", onclick: () => { dialog.close(); go("flow", { flow: graph, workflow }); } }, t("openFlow")),
                    h("button", { type: "button", onclick: () => similar(id).catch(complain) }, t("similar")),
                    h("a", { className: "button", href: picture(row), download: `${row.hash.slice(0, 12)}.png` }, t("download")),
                    h("button", { type: "button", className: "bad", onclick: () => discard(id).catch(complain) }, t("remove")),
                    h("button", { type: "button", onclick: () => dialog.close() }, t("close"))))));
        if (!dialog.open) dialog.showModal();
    }

    async function showLineage(id: number, place: HTMLElement): Promise<void> {
        const found = await get<{ from: object[]; to: object[] }>(`/limn/gallery/${id}/lineage`);
        const tree = (nodes: object[]): HTMLElement => h("ul", null, nodes.map(n => {
            const { kind, name, run, id: own, from, to } = n as Record<string, any>;
            return h("li", null, `${kind ?? ""} ${name ?? run ?? own ?? ""}`, (from ?? to)?.length && tree(from ?? to));
        }));
        place.append(tree(found.from), tree(found.to));
    }

    async function similar(id: number): Promise<void> {
        const found = await get<{ pictures: Row[] }>(`/limn/gallery/${id}/similar`);
        dialog.close();
        asked++;
        fill(grid);
        fill(end, h("button", { type: "button", onclick: () => again() }, t("all")));
        show(found.pictures);
    }

    async function discard(id: number): Promise<void> {
        const { batch } = await post<{ batch: number }>("/limn/gallery/delete", { ids: [id] });
        dialog.close();
        await again();
        say(t("removed"), "note", { label: t("undo"), run: () => void post("/limn/gallery/undo", { batch }).then(again, complain) });
    }

    return { show: () => { void again(); names().catch(complain); } };
}
